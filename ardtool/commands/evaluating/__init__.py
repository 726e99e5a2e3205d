"""The steps of `evaluate`: `subject` (a model on data) → one file a family of metrics → `table` (all by name) → `record` (the JSON)."""
