"""Search in Chinese, which has no spaces between words: text and queries are cut into pairs of characters.

Sphinx's own splitter for Chinese needs jieba, which has had no release since 2020, and leaves queries uncut.
"""

from __future__ import annotations

import re

from sphinx.search import SearchEnglish, languages

RUN = re.compile(r"[\u3400-\u9fff]+|[A-Za-z0-9_]+")
# the same in the browser: what the reader types
SPLITTER = """
function splitQuery(query) {
  const words = [];
  for (const run of query.match(/[\\u3400-\\u9fff]+|[A-Za-z0-9_]+/g) || []) {
    if (!/[\\u3400-\\u9fff]/.test(run) || run.length < 3) words.push(run);
    else for (let i = 0; i + 1 < run.length; i++) words.push(run.slice(i, i + 2));
  }
  return words;
}
"""


def words(text: str) -> list[str]:
    """Words of Latin letters, and each character and each pair of neighbours of Chinese text."""
    found: list[str] = []
    for run in RUN.findall(text):
        if run[0] < "\u3400":
            found.append(run)
        else:
            found += [*run, *(run[i : i + 2] for i in range(len(run) - 1))]
    return found


class Chinese(SearchEnglish):
    """English words are stemmed as on the English pages, by a script that `language_name` names."""

    lang = "zh"
    js_splitter_code = SPLITTER

    def split(self, input: str) -> list[str]:
        return words(input)

    def word_filter(self, word: str) -> bool:
        return word[0] >= "\u3400" or super().word_filter(word)


def install() -> None:
    """Put it in the place of Sphinx's splitter."""
    languages["zh"] = languages["zh_CN"] = Chinese
