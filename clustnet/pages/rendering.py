"""Self-contained HTML pages: templates with escaping on, and pictures embedded in the page."""

import base64
from typing import Any

import jinja2


def render(package: str, template: str, **values: Any) -> str:
    """Return a page made from a template; a value that is missing is an error.

    A template of a whole page extends ``page.html`` of this package, which includes the ``style.css`` of ``package``.

    Args:
        package: the package whose folder ``templates`` holds the template.
        template: its file name.
        values: the values that the template uses.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader("clustnet.pages")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def data_url(picture: bytes, kind: str = "png") -> str:
    """Return a picture as a data URL, so that the page needs no other file.

    Args:
        picture: the content of an image file.
        kind: the format as named in media types, such as ``png`` or ``jpeg``.
    """
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
