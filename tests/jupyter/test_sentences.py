"""A sentence that is typed goes to Python and comes back as a vector."""

from __future__ import annotations

import nbformat
from playwright.sync_api import expect

from tests.jupyter.conftest import Lab
from tests.jupyter.test_lab import notebook

SKETCH = """
import torch
from mlbook.lab import ask

asked = []

def embed(sentences):
    asked.extend(sentences)
    if "trouble" in sentences:
        raise RuntimeError("I would rather not")
    return torch.tensor([[float(w in s) for w in ("cat", "dog", "fish")] for s in sentences])
"""
CELL = """
ask(embed, {"cats": ["a cat", "the cat"], "dogs": ["a dog", "my dog"]}, ["a fish"], shots=1)
"""


def test_what_is_typed_goes_to_python_and_is_answered(lab: Lab) -> None:
    cells: nbformat.NotebookNode = notebook(SKETCH, CELL, "print(asked[5:])")
    with lab.open(cells) as seen:
        seen.run(0)
        shown = seen.run(1)
        box, said = shown.get_by_label("your own sentence"), shown.locator(".f-said").first
        box.fill("one more dog")
        box.press("Enter")
        expect(said).to_contain_text("“one more dog”dogs, cosine 1.00.")
        box.fill("some fish")
        shown.get_by_role("button", name="Ask", exact=True).click()
        expect(said).to_contain_text("None of these: ")
        shown.get_by_role("button", name="dogs", exact=True).click()
        shown.get_by_role("button", name="Make it an example").click()
        expect(shown.locator(".sn-list button")).to_have_count(3)
        expect(said).to_contain_text("dogs, cosine 0.71. It is one of the examples.")
        box.fill("trouble")
        box.press("Enter")
        expect(said).to_contain_text("RuntimeError: I would rather not")
        expect(seen.run(2)).to_contain_text("['one more dog', 'some fish', 'trouble']")
        assert not seen.problems
