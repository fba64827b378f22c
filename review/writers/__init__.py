"""What other tools read: one file for each format, with a function ``write(folder, records, pictures)``."""

FORMATS = ("csv", "folders", "labelstudio", "fiftyone", "huggingface")
