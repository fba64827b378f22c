"""The formats that other tools read: one module for each, with a function ``write(folder, records, pictures)``."""

FORMATS = ("csv", "folders", "labelstudio", "fiftyone", "huggingface")
