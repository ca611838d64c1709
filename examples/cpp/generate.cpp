// Makes events with an exported generator, by onnxruntime and without hepgan.
//
//   hepgan export MODEL.safetensors -o MODEL.onnx
//   g++ -std=c++17 -O2 generate.cpp -I$ORT/include -L$ORT/lib -Wl,-rpath,$ORT/lib -lonnxruntime -o generate
//   ./generate MODEL.onnx 100000 events.csv --seed=1 [CONDITION=VALUE ...]
//
// ORT is the folder of an onnxruntime release for C++. Random numbers are drawn here: `noise` from a normal
// distribution, `uniform` from [0, 1). Events whose column `valid` is 0 are drawn anew, as hepgan does: with other
// noise, and where that does not help, with other uniform numbers, too.
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr std::size_t BATCH = 4096;
constexpr int ATTEMPTS = 100, STUBBORN = 48;

// What all of a text says; std::stod alone would take 1e5x for 1e5.
double number_of(const std::string& text) {
  std::size_t used = 0;
  double found = 0;
  try {
    found = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != text.size()) throw std::runtime_error("'" + text + "' is no number");
  return found;
}

// Whole numbers may be written as 1e6, too.
std::uint64_t whole_of(const std::string& text) {
  if (!text.empty() && text.size() < 20 && text.find_first_not_of("0123456789") == std::string::npos)
    return std::stoull(text);
  const double found = number_of(text);
  if (found < 0 || found != std::floor(found) || found > 9e15)
    throw std::runtime_error("'" + text + "' is no whole number");
  return static_cast<std::uint64_t>(found);
}

float from_half(std::uint16_t bits) {
  const float sign = bits & 0x8000 ? -1.f : 1.f;
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1024.f + mantissa, exponent - 25) : std::ldexp(float(mantissa), -24));
}

template <typename T>
std::string written(const char* format, T value) {
  char text[40];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// A number of a column with all its digits.
std::string text_of(const Ort::Value& column, std::size_t at) {
  switch (column.GetTensorTypeAndShapeInfo().GetElementType()) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return written("%.9g", column.GetTensorData<float>()[at]);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE: return written("%.17g", column.GetTensorData<double>()[at]);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: {
      std::uint16_t bits;
      std::memcpy(&bits, column.GetTensorData<Ort::Float16_t>() + at, sizeof bits);
      return written("%.5g", from_half(bits));
    }
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return std::to_string(column.GetTensorData<std::int64_t>()[at]);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: return std::to_string(column.GetTensorData<std::int32_t>()[at]);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16: return std::to_string(column.GetTensorData<std::int16_t>()[at]);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8: return std::to_string(column.GetTensorData<std::int8_t>()[at]);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8: return std::to_string(column.GetTensorData<std::uint8_t>()[at]);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL: return column.GetTensorData<bool>()[at] ? "1" : "0";
    default: throw std::runtime_error("a column of a type that this program does not know");
  }
}

// How many numbers each event has in a tensor of the shape (events, ...).
std::size_t width_of(const std::vector<std::int64_t>& shape) {
  std::size_t width = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) width *= static_cast<std::size_t>(shape[i]);
  return width;
}

// What the generator is given of each event of a batch.
struct Input {
  std::string name;
  bool single, whole, list;
  std::size_t width;
  std::vector<double> numbers;  // of a batch: (events, width)
  // Of the events that are made at a time, in the type that the file wants.
  std::vector<float> as_float;
  std::vector<double> as_double;
  std::vector<std::int64_t> as_whole;
};

class Generator {
 public:
  Generator(const char* path, std::uint64_t seed)
      : environment_(ORT_LOGGING_LEVEL_ERROR, "hepgan"),
        session_(environment_, path, Ort::SessionOptions{}),
        memory_(Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault)),
        random_(seed) {
    Ort::AllocatorWithDefaultOptions allocator;
    for (std::size_t i = 0; i < session_.GetInputCount(); ++i) {
      const auto type = session_.GetInputTypeInfo(i);
      const auto info = type.GetTensorTypeAndShapeInfo();
      Input input{};
      input.name = session_.GetInputNameAllocated(i, allocator).get();
      input.single = info.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
      input.whole = info.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
      input.list = info.GetShape().size() > 1;
      input.width = width_of(info.GetShape());
      inputs_.push_back(input);
    }
    for (std::size_t i = 0; i < session_.GetOutputCount(); ++i) {
      outputs.emplace_back(session_.GetOutputNameAllocated(i, allocator).get());
      if (outputs.back() == "valid") valid_ = i;
    }
  }

  // All events get these conditions.
  void set(std::map<std::string, double> conditions) {
    for (auto& input : inputs_) {
      if (input.name.rfind("condition_", 0) != 0) continue;
      const std::string name = input.name.substr(10);
      const auto found = conditions.find(name);
      if (found == conditions.end()) throw std::runtime_error("give the condition " + name + "=VALUE");
      if (input.whole && found->second != std::floor(found->second))
        throw std::runtime_error("the condition " + name + " is a whole number");
      input.numbers.assign(BATCH * input.width, found->second);
      conditions.erase(found);
    }
    if (!conditions.empty())
      throw std::runtime_error("the generator has no condition " + conditions.begin()->first);
  }

  // A line for each of some events, at most BATCH.
  std::vector<std::string> lines(std::size_t size) {
    std::vector<std::string> found(size);
    std::vector<std::size_t> missing(size);
    std::iota(missing.begin(), missing.end(), 0);
    for (int attempt = 0; !missing.empty(); ++attempt) {
      if (attempt > ATTEMPTS)
        throw std::runtime_error(std::to_string(missing.size()) + " events stay invalid: train longer");
      for (auto& input : inputs_) draw(input, missing, attempt);
      const auto columns = run(missing);
      std::vector<std::size_t> rest;
      for (std::size_t k = 0; k < missing.size(); ++k) {
        if (valid_ < outputs.size() && !columns[valid_].GetTensorData<bool>()[k])
          rest.push_back(missing[k]);
        else
          found[missing[k]] = line(columns, k);
      }
      missing = rest;
    }
    return found;
  }

  // The names of the numbers of each event; known when events have been made.
  std::string title() const {
    std::string text;
    for (std::size_t c = 0; c < outputs.size(); ++c)
      for (std::size_t k = 0; k < widths_[c]; ++k)
        text += (text.empty() ? "" : ",") + outputs[c] + (lists_[c] ? "[" + std::to_string(k) + "]" : "");
    return text;
  }

  std::vector<std::string> outputs;

 private:
  void draw(Input& input, const std::vector<std::size_t>& rows, int attempt) {
    const bool noise = input.name == "noise";
    if (!noise && (input.name != "uniform" || (attempt > 0 && attempt <= STUBBORN))) return;
    input.numbers.resize(BATCH * input.width);
    for (const std::size_t row : rows)
      for (std::size_t k = 0; k < input.width; ++k)
        input.numbers[row * input.width + k] = noise ? normal_(random_) : uniform_(random_);
  }

  template <typename T>
  Ort::Value tensor(const Input& input, const std::vector<std::size_t>& rows, std::vector<T>& own) {
    own.clear();
    for (const std::size_t row : rows)
      for (std::size_t k = 0; k < input.width; ++k)
        own.push_back(static_cast<T>(input.numbers[row * input.width + k]));
    std::vector<std::int64_t> shape{static_cast<std::int64_t>(rows.size())};
    if (input.list) shape.push_back(static_cast<std::int64_t>(input.width));
    return Ort::Value::CreateTensor<T>(memory_, own.data(), own.size(), shape.data(), shape.size());
  }

  std::vector<Ort::Value> run(const std::vector<std::size_t>& rows) {
    std::vector<Ort::Value> given;
    std::vector<const char*> input_names, output_names;
    for (auto& input : inputs_) {
      input_names.push_back(input.name.c_str());
      if (input.single) given.push_back(tensor(input, rows, input.as_float));
      else if (input.whole) given.push_back(tensor(input, rows, input.as_whole));
      else given.push_back(tensor(input, rows, input.as_double));
    }
    for (const auto& name : outputs) output_names.push_back(name.c_str());
    auto columns = session_.Run(Ort::RunOptions{}, input_names.data(), given.data(), given.size(),
                                output_names.data(), output_names.size());
    widths_.clear();
    lists_.clear();
    for (const auto& column : columns) {
      const auto shape = column.GetTensorTypeAndShapeInfo().GetShape();
      widths_.push_back(width_of(shape));
      lists_.push_back(shape.size() > 1);
    }
    return columns;
  }

  std::string line(const std::vector<Ort::Value>& columns, std::size_t event) const {
    std::string text;
    for (std::size_t c = 0; c < columns.size(); ++c)
      for (std::size_t k = 0; k < widths_[c]; ++k)
        text += (text.empty() ? "" : ",") + text_of(columns[c], event * widths_[c] + k);
    return text;
  }

  Ort::Env environment_;
  Ort::Session session_;
  Ort::MemoryInfo memory_;
  std::mt19937_64 random_;
  std::normal_distribution<double> normal_;
  std::uniform_real_distribution<double> uniform_;
  std::vector<Input> inputs_;
  std::vector<std::size_t> widths_;
  std::vector<bool> lists_;
  std::size_t valid_ = SIZE_MAX;
};

}  // namespace

int main(int count, char** words) try {
  if (count < 4) {
    std::cerr << "usage: generate MODEL.onnx EVENTS OUT.csv [--seed=S] [CONDITION=VALUE ...]\n";
    return 2;
  }
  const std::uint64_t wanted = whole_of(words[2]);
  std::uint64_t seed = 0;
  std::map<std::string, double> conditions;
  for (int i = 4; i < count; ++i) {
    const std::string word = words[i];
    const auto at = word.find('=');
    if (at == std::string::npos) throw std::runtime_error(word + " is no NAME=VALUE");
    if (word.rfind("--seed=", 0) == 0) seed = whole_of(word.substr(at + 1));
    else conditions[word.substr(0, at)] = number_of(word.substr(at + 1));
  }
  Generator generator(words[1], seed);
  generator.set(conditions);
  std::ofstream file(words[3]);
  for (std::uint64_t made = 0; made < wanted;) {
    const std::size_t size = std::min<std::uint64_t>(BATCH, wanted - made);
    const auto lines = generator.lines(size);
    if (made == 0) file << generator.title() << '\n';
    for (const auto& line : lines) file << line << '\n';
    made += size;
  }
  file.close();
  if (!file) throw std::runtime_error(std::string(words[3]) + " cannot be written");
  std::cout << wanted << " events in " << words[3] << '\n';
  return 0;
} catch (const std::exception& error) {
  std::cerr << "generate: " << error.what() << '\n';
  return 1;
}
