"""HTML pages that are one file: templates with escaping on, and pictures inside the page."""

import base64
from typing import Any

import jinja2


def render(package: str, template: str, **values: Any) -> str:
    """Return a page made from a template; a value that the template lacks is an error.

    A template of a whole page extends ``page.html`` of this room, which takes the package's ``style.css``.

    Args:
        package: the package whose folder ``templates`` holds the template.
        template: its file name.
        values: what the template shows.
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
    """Return a picture as an address, so that a page is one file.

    Args:
        picture: the content of an image file.
        kind: its format as media types name it, such as ``png`` or ``jpeg``.
    """
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
