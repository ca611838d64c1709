// Makes events with an exported generator, by onnxruntime and without hepgan.
//
//   hepgan export MODEL.safetensors -o MODEL.onnx
//   g++ -std=c++17 -O2 generate.cpp -I$ORT/include -L$ORT/lib -Wl,-rpath,$ORT/lib -lonnxruntime -o generate
//   ./generate MODEL.onnx 100000 events.csv --seed=1 [CONDITION=VALUE ...]
//
// ORT is the folder of an onnxruntime release for C++. Random numbers are drawn here: `noise` from a normal
// distribution, `uniform` from [0, 1). Events whose column `valid` is 0 are left out, and others drawn.
#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr std::int64_t BATCH = 4096;
constexpr int TRIES = 1000;

std::int64_t width_of(const std::vector<std::int64_t>& shape) {
  return shape.size() > 1 ? shape[1] : 1;
}

double number(const Ort::Value& column, std::size_t at) {
  switch (column.GetTensorTypeAndShapeInfo().GetElementType()) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return column.GetTensorData<float>()[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE: return column.GetTensorData<double>()[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return static_cast<double>(column.GetTensorData<std::int64_t>()[at]);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: return column.GetTensorData<std::int32_t>()[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16: return column.GetTensorData<std::int16_t>()[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8: return column.GetTensorData<std::int8_t>()[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8: return column.GetTensorData<std::uint8_t>()[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL: return column.GetTensorData<bool>()[at] ? 1 : 0;
    default: throw std::runtime_error("a column of a type that this program does not know");
  }
}

// Memory of the numbers of one input, which onnxruntime reads.
struct Numbers {
  std::vector<float> single;
  std::vector<double> real;
  std::vector<std::int64_t> whole;
};

}  // namespace

int main(int count, char** words) try {
  if (count < 4) {
    std::cerr << "usage: generate MODEL.onnx EVENTS OUT.csv [--seed=S] [CONDITION=VALUE ...]\n";
    return 2;
  }
  const std::int64_t wanted = std::stoll(words[2]);
  std::uint64_t seed = 0;
  std::map<std::string, double> conditions;
  for (int i = 4; i < count; ++i) {
    const std::string word = words[i];
    const auto at = word.find('=');
    if (at == std::string::npos) throw std::runtime_error(word + " is no NAME=VALUE");
    if (word.rfind("--seed=", 0) == 0) seed = std::stoull(word.substr(at + 1));
    else conditions["condition_" + word.substr(0, at)] = std::stod(word.substr(at + 1));
  }

  Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "hepgan");
  Ort::Session session(environment, words[1], Ort::SessionOptions{});
  Ort::AllocatorWithDefaultOptions allocator;
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);

  std::vector<std::string> inputs, outputs;
  for (std::size_t i = 0; i < session.GetInputCount(); ++i)
    inputs.emplace_back(session.GetInputNameAllocated(i, allocator).get());
  for (std::size_t i = 0; i < session.GetOutputCount(); ++i)
    outputs.emplace_back(session.GetOutputNameAllocated(i, allocator).get());
  std::vector<const char*> input_names, output_names;
  for (const auto& name : inputs) input_names.push_back(name.c_str());
  for (const auto& name : outputs) output_names.push_back(name.c_str());

  std::ofstream file(words[3]);
  file << std::setprecision(9);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<double> uniform;
  std::int64_t made = 0;
  bool titled = false;

  for (int batch = 0; made < wanted; ++batch) {
    if (batch > TRIES + 2 * wanted / BATCH) throw std::runtime_error("too few events are valid");
    std::vector<Numbers> numbers(inputs.size());
    std::vector<Ort::Value> given;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const auto type = session.GetInputTypeInfo(i);
      const auto info = type.GetTensorTypeAndShapeInfo();
      std::vector<std::int64_t> shape{BATCH};
      const std::int64_t width = width_of(info.GetShape());
      if (info.GetShape().size() > 1) shape.push_back(width);
      const std::size_t size = static_cast<std::size_t>(BATCH * width);
      auto& own = numbers[i];
      if (inputs[i] == "noise") {
        for (std::size_t k = 0; k < size; ++k) own.single.push_back(normal(random));
      } else if (inputs[i] == "uniform") {
        for (std::size_t k = 0; k < size; ++k) own.real.push_back(uniform(random));
      } else {
        const auto found = conditions.find(inputs[i]);
        if (found == conditions.end()) throw std::runtime_error("give " + inputs[i].substr(10) + "=VALUE");
        if (info.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64)
          own.whole.assign(size, static_cast<std::int64_t>(found->second));
        else
          own.real.assign(size, found->second);
      }
      if (!own.single.empty())
        given.push_back(Ort::Value::CreateTensor(memory, own.single.data(), size, shape.data(), shape.size()));
      else if (!own.whole.empty())
        given.push_back(Ort::Value::CreateTensor(memory, own.whole.data(), size, shape.data(), shape.size()));
      else
        given.push_back(Ort::Value::CreateTensor(memory, own.real.data(), size, shape.data(), shape.size()));
    }

    const auto columns = session.Run(Ort::RunOptions{}, input_names.data(), given.data(), given.size(),
                                     output_names.data(), output_names.size());
    std::vector<std::size_t> widths;
    std::size_t valid = outputs.size();
    for (std::size_t c = 0; c < outputs.size(); ++c) {
      const auto shape = columns[c].GetTensorTypeAndShapeInfo().GetShape();
      widths.push_back(shape.size() > 1 ? static_cast<std::size_t>(shape[1]) : 1);
      if (outputs[c] == "valid") valid = c;
    }
    if (!titled) {
      std::string comma;
      for (std::size_t c = 0; c < outputs.size(); ++c) {
        const bool list = columns[c].GetTensorTypeAndShapeInfo().GetShape().size() > 1;
        for (std::size_t k = 0; k < widths[c]; ++k, comma = ",")
          file << comma << outputs[c] << (list ? "[" + std::to_string(k) + "]" : "");
      }
      file << '\n';
      titled = true;
    }
    for (std::size_t event = 0; event < BATCH && made < wanted; ++event) {
      if (valid < outputs.size() && number(columns[valid], event) == 0) continue;
      std::string comma;
      for (std::size_t c = 0; c < outputs.size(); ++c)
        for (std::size_t k = 0; k < widths[c]; ++k, comma = ",")
          file << comma << number(columns[c], event * widths[c] + k);
      file << '\n';
      ++made;
    }
  }
  std::cout << made << " events in " << words[3] << '\n';
  return 0;
} catch (const std::exception& error) {
  std::cerr << "generate: " << error.what() << '\n';
  return 1;
}
