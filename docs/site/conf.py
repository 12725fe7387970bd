"""Sphinx's configuration, for both languages; `docs/site/build.py` says which one in SITE_LANGUAGE."""

import os

from docs.site import search
from neoclassic import __version__

language = os.environ.get("SITE_LANGUAGE", "en")
chinese = language == "zh_CN"

project = "neoclassic"
author = "the authors of neoclassic"
copyright = author
version = release = __version__
extensions = ["myst_nb", "sphinx_copybutton"]
exclude_patterns = ["_notebooks"]
nitpicky = True

myst_enable_extensions = ["attrs_block", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # build.py executes the notebooks, once for both languages
nb_ipywidgets_js = {}  # else pages load scripts from another host
nb_merge_streams = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = False

html_theme = "furo"
html_title = "neoclassic"
html_static_path = ["static"]
html_css_files = ["site.css"]
templates_path = ["templates"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_sidebars = {
    "**": [
        *("sidebar/brand.html", "language.html", "sidebar/search.html"),
        *("sidebar/scroll-start.html", "sidebar/navigation.html", "sidebar/scroll-end.html"),
    ]
}
html_context = {
    "other_folder": "en" if chinese else "zh",
    "other_language": "English" if chinese else "中文",
    "other_code": "en" if chinese else "zh-CN",
}


def setup(app: object) -> None:
    """Let Chinese be searched by pairs of characters."""
    search.install()
