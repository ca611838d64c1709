"""Learners: what training needs besides a model, of which models know nothing."""
