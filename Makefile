# `make` alone lists what there is. Every target makes the virtual environment that it needs.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
PYTHON := $(VENV)/bin/python
TRAINING_VENV := .venv-training
CHECKOV_VENV := .venv-checkov
LAMBDA := build/lambda-runtime
STAGE ?= dev

export PORT AWS_PORT SAMPLES

##@ Use
.PHONY: run
run: $(VENV)/.run  ## The whole service on this machine; PORT=8000 AWS_PORT=4566 SAMPLES=1
	@exec $(PYTHON) -m local.run

.PHONY: package
package: $(VENV)/.run  ## The CloudFormation package of a stage in build/STAGE; STAGE=dev
	@$(PYTHON) -m infrastructure.package $(STAGE) build/$(STAGE)

.PHONY: package-terraform
package-terraform: $(VENV)/.run  ## The same for Terraform in build/STAGE-terraform; STAGE=dev
	@$(PYTHON) -m infrastructure.terraform $(STAGE) build/$(STAGE)-terraform

.PHONY: backfill
backfill: $(VENV)/.run  ## Make a rendition of old images: RENDITION=name STAGE=local
	@PYTHONPATH=vendor $(PYTHON) -m operations.backfill "$(RENDITION)" \
		--stage "$(if $(filter command line environment,$(origin STAGE)),$(STAGE),local)" \
		--aws-port "$(AWS_PORT)" $(ARGS)

.PHONY: train
train: $(TRAINING_VENV)/.train  ## Make the default model anew (40 minutes of two cores)
	@exec $(TRAINING_VENV)/bin/python -m training.train $(ARGS)

.PHONY: bench
bench: $(VENV)/.run  ## What one image costs, against the naive way; ARGS="--photos FOLDER"
	@PYTHONPATH=vendor $(PYTHON) -m benchmarks.model_path $(ARGS)

##@ Change
.PHONY: test
test: $(VENV)/.dev  ## All tests; T=path/to/test.py for some
	@$(PYTHON) -m pytest $(T)

.PHONY: check
check: lint types test package-check static  ## Everything that has to be green before a commit lands

.PHONY: least-privilege
least-privilege: $(VENV)/.dev  ## The tests of the system with the functions under their own roles
	@ENFORCE_IAM=1 $(PYTHON) -m pytest tests/system --deselect tests/system/test_local_run.py

.PHONY: format
format: $(VENV)/.dev  ## Format the code
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix-only .

.PHONY: lint
lint: $(VENV)/.dev  ## Style, imports that point the wrong way
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(VENV)/bin/lint-imports --no-cache

.PHONY: types
types: $(VENV)/.dev  ## mypy, strict
	@$(PYTHON) -m mypy

.PHONY: package-check
package-check: $(VENV)/.dev $(LAMBDA)/.made  ## Package with all libraries, and check size and contents
	@$(PYTHON) -m infrastructure.package prod build/check
	@$(PYTHON) -m infrastructure.artefact build/check
	@$(PYTHON) -m infrastructure.runtime $(LAMBDA) build/check

.PHONY: static
static: $(VENV)/.dev $(CHECKOV_VENV)/.checkov  ## cfn-lint and checkov, over the package of prod
	@[ -f build/check/sam.json ] || $(PYTHON) -m infrastructure.package prod build/check
	@$(VENV)/bin/cfn-lint build/check/sam.json
	@$(PYTHON) -m infrastructure.static $(CHECKOV_VENV)/bin/checkov build/check

.PHONY: pins
pins: $(VENV)/.dev  ## Write down the versions that are installed
	@{ head -2 constraints.txt; $(PYTHON) -m pip freeze --all | grep -v -i '^pip=='; } > build-pins.tmp
	@mv build-pins.tmp constraints.txt

##@ Clean
.PHONY: clean
clean:  ## Forget the local AWS, the packages and the virtual environment
	@sh local/clean

.PHONY: help
help:
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- Environments -----------------------------------------------------------------------------

# A virtual environment whose Python went away is made anew.
$(VENV)/.made: local/find-python
	@$(PYTHON) -c '' 2>/dev/null || { \
		python=$$(sh local/find-python) && \
		echo "Virtual environment in $(VENV), with $$python" && \
		rm -rf $(VENV) && "$$python" -m venv $(VENV); }
	@touch $@

$(VENV)/.run: $(VENV)/.made requirements.txt local/requirements.txt constraints.txt
	@echo "Installing the packages (once, about half a minute)"
	@$(PYTHON) local/install.py local/requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.made requirements.txt local/requirements.txt requirements-dev.txt constraints.txt
	@echo "Installing the packages and tools (once, about a minute)"
	@$(PYTHON) local/install.py requirements-dev.txt
	@touch $@ $(VENV)/.run

$(CHECKOV_VENV)/.checkov: infrastructure/requirements.txt $(VENV)/.made
	@echo "Installing checkov (once, about a minute)"
	@rm -rf $(CHECKOV_VENV) && $(PYTHON) -m venv $(CHECKOV_VENV)
	@$(CHECKOV_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r infrastructure/requirements.txt
	@touch $@

# What a Lambda function finds without bringing it: the runtime client, and boto3.
$(LAMBDA)/.made: $(VENV)/.made constraints.txt Makefile
	@rm -rf $(LAMBDA)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --target $(LAMBDA) \
		--constraint constraints.txt awslambdaric==4.2.2 boto3
	@touch $@

# PyTorch is large and of no use to anything else, so it has an environment of its own.
$(TRAINING_VENV)/.train: training/requirements.txt
	@python=$$(command -v python3.11 python3.12 python3.13 python3 | head -1) && \
		rm -rf $(TRAINING_VENV) && "$$python" -m venv $(TRAINING_VENV)
	@$(TRAINING_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r training/requirements.txt
	@touch $@
