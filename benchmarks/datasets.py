"""Seeded data sets to measure with: the same bytes for the same seed, on every machine."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

_SYLLABLES = ("ka", "mi", "to", "ren", "sol", "va", "lu", "den", "pri", "os", "an", "be", "ti", "qua", "ne", "shu")
_WORDS = [a + b for a in _SYLLABLES for b in _SYLLABLES]
MIB = 1 << 20


def small(where: Path, *, files: int = 20_001, database_size: int = 20 * MIB, seed: int = 1) -> None:
    """Chat-like JSON, JSONL and Markdown files of 0.5 to 20 KB, and three SQLite databases of 20 MB."""
    rng = random.Random(seed)
    for number in range(files):
        directory = where / f"agents/agent-{number % 40:02d}/sessions" / f"{number % 8}"
        directory.mkdir(parents=True, exist_ok=True)
        size = int(512 * 40 ** rng.random())
        suffix, text = _document(rng, number, size)
        (directory / f"{number:06d}{suffix}").write_text(text)
    for number in range(3):
        _database(where / f"memory-{number}.sqlite", rng, database_size)


def large(where: Path, *, size: int = 1024 * MIB, seed: int = 2) -> None:
    """Half compressible text, half incompressible media, in files of 1 to 128 MiB."""
    rng = random.Random(seed)
    where.mkdir(parents=True, exist_ok=True)
    paragraph = [sentence(rng) for _ in range(20_000)]
    done = number = 0
    while done < size:
        length = min(MIB << rng.randrange(8), max(MIB, size // 8), size - done)
        with (where / f"{number:04d}{'.txt' if number % 2 else '.bin'}").open("wb") as file:
            for piece in _text(rng, paragraph, length) if number % 2 else _media(rng, length):
                file.write(piece)
        done += length
        number += 1


def many(where: Path, *, files: int, seed: int = 4) -> None:
    """That many small files of 100 to 2,000 bytes, no two the same."""
    rng = random.Random(seed)
    text = " ".join(sentence(rng) for _ in range(20_000)).encode()
    for first in range(0, files, 200):
        directory = where / f"{first // 20_000:02d}" / f"{first // 200:04d}"
        directory.mkdir(parents=True)
        for number in range(first, min(first + 200, files)):
            start, length = rng.randrange(len(text) - 2000), rng.randrange(80, 1980)
            (directory / f"{number:07d}.txt").write_bytes(b"%d\n%b" % (number, text[start : start + length]))


def _media(rng: random.Random, length: int) -> Iterator[bytes]:
    for start in range(0, length, MIB):
        yield rng.randbytes(min(MIB, length - start))


def _text(rng: random.Random, sentences: list[str], length: int) -> Iterator[bytes]:
    left = length
    while left:
        piece = " ".join(rng.choices(sentences, k=10_000)).encode()[:left]
        left -= len(piece)
        yield piece


def sentence(rng: random.Random) -> str:
    """Some words that aren't, and a number."""
    words = rng.choices(_WORDS, k=rng.randrange(6, 18))
    return f"{' '.join(words).capitalize()} {rng.randrange(10_000)}."


def _document(rng: random.Random, number: int, size: int) -> tuple[str, str]:
    sentences = []
    length = 0
    while length < size:
        sentences.append(sentence(rng))
        length += len(sentences[-1])
    if number % 3 == 0:
        return ".md", f"# Note {number}\n\n" + "\n\n".join(sentences)
    rows = [
        {"id": f"{rng.getrandbits(64):016x}", "role": "user" if i % 2 else "assistant", "content": sentence}
        for i, sentence in enumerate(sentences)
    ]
    if number % 3 == 1:
        return ".json", json.dumps({"session": number, "messages": rows})
    return ".jsonl", "".join(json.dumps(row) + "\n" for row in rows)


def _database(path: Path, rng: random.Random, size: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, at INTEGER, body TEXT, vector BLOB)")
    row = 0
    while path.stat().st_size < size:
        batch = [(row + i, rng.getrandbits(40), sentence(rng) * 3, rng.randbytes(256)) for i in range(2000)]
        with connection:
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", batch)
        row += len(batch)
    connection.close()
