"""A bundle as an HTTP service, by ``app.build_app`` or by BentoML with ``bento.service``."""
