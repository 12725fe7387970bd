"""Recognising the splits of a data set (training, validation, test) by the names of folders, in many languages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

HELD_OUT = "held out"  # the test set, or the validation set if there is another test set
_WORDS = {
    "train": """train training trainings trn entrainement apprentissage entrenamiento treino treinamento addestramento
        allenamento trening treningowy treningowe traning træning trenovaci egitim latih обучение обучающая обучающие
        тренировка тренировочная 训练 訓練 学習 훈련 학습""",
    "validation": """val valid validate validating validation validations dev development validierung validierungs
        validacion validacao validazione validatie validering walidacja walidacyjny validacni dogrulama validasi
        валидация валидационная 验证 驗證 検証 검증""",
    "test": """test tests testing tst prueba pruebas teste testes prova testowy testowe testovaci uji тест тестовая
        тестовые тестирование 测试 測試 テスト 테스트""",
    HELD_OUT: "eval evaluate evaluation evaluierung holdout heldout evaluacion evaluasi 评估 評価 평가",
    "unlabelled": "pred predict prediction predictions unlabeled unlabelled unsup unsupervised inference submission",
}
_FILLERS = """set sets data dataset datasets subset split part partition folder dir samples examples images image imgs
    img pictures pics photos daten datensatz bilder menge jeu de donnees ensemble conjunto datos imagenes dados imagens
    dati immagini zbior выборка данные 集 数据 資料 データ セット 用 데이터 세트"""


def split_roles(names: Sequence[str]) -> dict[str, str]:
    """Return the split that each name stands for: "train", "validation", "test" or "unlabelled".

    Other names are left out. `training_set`, `TrainImages` and `Trainingsdaten` are recognised on their own;
    `seg_train` only together with `seg_test`.
    """
    parsed = {name: parse_name(name) for name in names}
    roles = {
        name: role
        for name, (role, rest) in parsed.items()
        if role in _WORDS
        and (not rest or any(other not in ("", role) and rest == its for other, its in parsed.values()))
    }
    held_out = "validation" if "test" in roles.values() else "test"
    return {name: held_out if role == HELD_OUT else role for name, role in roles.items()}


def parse_name(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the role that a name mentions ("" for none, "several" for several), and its other words.

    Words such as "set" and "images" are dropped.
    """
    text = re.sub(r"\b(hold|held)[\W_]*out", "holdout", _simplify(name))
    words = [_without_filler(word) for word in re.findall(r"[^\W\d_]+", text)]
    words = [word for word in words if word not in _FILLER_WORDS]
    roles = {_ROLES[word]: word for word in words if word in _ROLES}
    rest = tuple(word for word in words if word not in roles.values())
    return (next(iter(roles)), rest) if len(roles) == 1 else ("several" if roles else "", rest)


def _simplify(text: str) -> str:
    """Lower-case a text, drop its accents, and separate the words of camelCase."""
    letters = unicodedata.normalize("NFKD", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text))
    return "".join(c for c in letters if unicodedata.category(c) != "Mn").casefold()


_ROLES = {_simplify(word): role for role, words in _WORDS.items() for word in words.split()}
_FILLER_WORDS = tuple(_simplify(word) for word in _FILLERS.split())


def _without_filler(word: str) -> str:
    """Remove fillers from the end of a word: `trainset` becomes `train`."""
    for filler in _FILLER_WORDS:
        if word not in _ROLES and word not in _FILLER_WORDS and word.endswith(filler):
            return _without_filler(word.removesuffix(filler))
    return word
