PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check install clean

demo: demo/release/report.html
	@echo "report: $(CURDIR)/demo/release/report.html"

demo/release/report.html: demo/clinic/RECORDS
	$(BIN)/ecgveil release demo/clinic --out demo/release --recipe quick --number 200 --seed 1

demo/clinic/RECORDS: | .venv/installed
	$(BIN)/ecgveil simulate --out demo/clinic --patients 200 --seed 1

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv demo
