# `make` alone lists what there is. Every target makes the virtual environment that it needs.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
PYTHON := $(VENV)/bin/python
TRAINING_VENV := .venv-training
BENCH_IMAGING_VENV := .venv-bench-imaging
BENCH_INFERENCE_VENV := .venv-bench-inference
LAMBDA_VENV := .venv-lambda
CHECKOV_VENV := .venv-checkov
SUPPLY_VENV := .venv-supply
FUZZ_VENV := .venv-fuzz
# Nothing that a lock does not name with its hash, and nothing that is built from source.
LOCKED := --quiet --disable-pip-version-check --require-hashes --only-binary :all:
AWS_VENV := .venv-aws
LAMBDA := build/lambda-runtime
STAGE ?= dev

export PORT AWS_PORT SAMPLES
# A folder for most, NAME@VERSION for those that speak of a model in the bucket.
MODEL ?=

##@ Use
.PHONY: run
run: $(VENV)/.run  ## The whole service on this machine; PORT=8000 AWS_PORT=4566 SAMPLES=1 MODEL=folder
	@MODEL="$(MODEL)" exec $(PYTHON) -m local.run

.PHONY: mails
mails: $(VENV)/.run  ## What make run has mailed, as pages for a browser; AWS_PORT=4566
	@exec $(PYTHON) -m local.mails

.PHONY: package
package: $(VENV)/.run  ## The CloudFormation package of a stage in build/STAGE; STAGE=dev MODEL=folder
	@$(PYTHON) -m infrastructure.package $(STAGE) build/$(STAGE) $(if $(MODEL),--model "$(MODEL)")

# --- Models: docs/models.md

.PHONY: model-check
model-check: $(VENV)/.run  ## Try a model out, print its model.json completed; MODEL=folder
	@$(PYTHON) -m operations.models check "$(MODEL)"

.PHONY: model-layer
model-layer: $(VENV)/.run  ## The Lambda layer of a model in build/model-layer.zip; MODEL=folder
	@$(PYTHON) -m infrastructure.model_layer "$(MODEL)" build/model-layer.zip

.PHONY: model-publish
model-publish: $(VENV)/.run  ## Put a model into a stage's bucket; MODEL=folder STAGE=local
	@PYTHONPATH=vendor $(PYTHON) -m operations.models publish "$(MODEL)" $(OPERATED)

.PHONY: model-use
model-use: $(VENV)/.run  ## Choose a stage's models; MODEL=NAME@VERSION SHADOW=NAME@VERSION SHARE=0.1
	@PYTHONPATH=vendor $(PYTHON) -m operations.models use "$(MODEL)" $(OPERATED) \
		--shadow "$(SHADOW)" $(if $(SHARE),--share $(SHARE))

.PHONY: reclassify
reclassify: $(VENV)/.run  ## Ask a model about images that another answered for; MODEL=NAME@VERSION
	@PYTHONPATH=vendor exec $(PYTHON) -m operations.reclassify "$(MODEL)" $(OPERATED)

# Without STAGE these work on the local run.
OPERATED = --stage $(if $(filter command,$(origin STAGE)),$(STAGE),local) --aws-port "$(AWS_PORT)"

.PHONY: package-terraform
package-terraform: $(VENV)/.run  ## The same for Terraform in build/STAGE-terraform; STAGE=dev
	@$(PYTHON) -m infrastructure.terraform $(STAGE) build/$(STAGE)-terraform

.PHONY: backfill
backfill: $(VENV)/.run  ## Make a rendition of old images: RENDITION=name STAGE=local
	@PYTHONPATH=vendor $(PYTHON) -m operations.backfill "$(RENDITION)" \
		--stage "$(if $(filter command line environment,$(origin STAGE)),$(STAGE),local)" \
		--aws-port "$(AWS_PORT)" $(ARGS)

.PHONY: resources
resources: $(VENV)/.run  ## What chalice deploy needs: a stack, and the folder to run it in; STAGE=dev MODEL=folder
	@PYTHONPATH=vendor $(PYTHON) -m operations.resources $(STAGE) $(PARAMETERS) $(if $(MODEL),--model "$(MODEL)")

.PHONY: settle
settle: $(VENV)/.run  ## What chalice deploy cannot say, after each deployment; STAGE=dev
	@$(PYTHON) -m operations.settle $(STAGE)

.PHONY: destroy
destroy: $(VENV)/.run  ## Delete a stage, however it was deployed, and say what stays; STAGE=dev
	@$(PYTHON) -m operations.destroy $(STAGE)

.PHONY: cost
cost: $(VENV)/.run  ## What a million images cost, from operations/costs.yaml
	@$(PYTHON) -m operations.cost

.PHONY: capacity
capacity: $(VENV)/.dev  ## Which limits bind first, and a simulated day, from operations/costs.yaml
	@$(PYTHON) -m operations.capacity

.PHONY: redrive
redrive: $(VENV)/.run  ## List dead letters, or send them back: QUEUE=name ID=message-id,...|all STAGE=local
	@PYTHONPATH=vendor $(PYTHON) -m operations.redrive "$(QUEUE)" --id "$(ID)" $(OPERATED)

.PHONY: train
train: $(TRAINING_VENV)/.train  ## Make the default model anew (40 minutes of two cores)
	@exec $(TRAINING_VENV)/bin/python -m training.train $(ARGS)

.PHONY: bench
bench: $(VENV)/.run  ## What one image costs, against the naive way; ARGS="--photos FOLDER"
	@PYTHONPATH=vendor $(PYTHON) -m benchmarks.model_path $(ARGS)

.PHONY: bench-imaging
bench-imaging: $(BENCH_IMAGING_VENV)/.made  ## Our imaging against sharp, libvips, OpenCV; ARGS="--photos FOLDER"
	@PYTHONPATH=vendor exec $(BENCH_IMAGING_VENV)/bin/python -m benchmarks.imaging $(ARGS)

.PHONY: bench-inference
bench-inference: $(BENCH_INFERENCE_VENV)/.made  ## Our inference against its limit and against servers; ARGS="--photos FOLDER"
	@PYTHONPATH=vendor exec $(BENCH_INFERENCE_VENV)/bin/python -m benchmarks.inference $(ARGS)

.PHONY: bench-cold-start
bench-cold-start: $(VENV)/.run $(LAMBDA_VENV)/.made  ## What a first call of each packaged function costs; ARGS="--rounds 9"
	@$(PYTHON) -m infrastructure.package prod build/check
	@PYTHONPATH=vendor exec $(PYTHON) -m benchmarks.cold_start build/check --runtime $(LAMBDA_VENV)/bin/python $(ARGS)

##@ Change
.PHONY: test
test: $(VENV)/.dev  ## All tests; T=path/to/test.py for some
	@$(PYTHON) -m pytest $(T)

# --- What breaks on purpose: docs/reliability.md

.PHONY: crash-test
crash-test: $(VENV)/.dev  ## Kill real workers at each of their calls; MINUTES=11
	@PYTHONPATH=vendor exec $(PYTHON) -m tests.chaos.crash --minutes $(or $(MINUTES),11)

.PHONY: soak
soak: $(VENV)/.dev  ## Uploads and a nemesis, then the books; DURATION=120 UPLOADS=300
	@PYTHONPATH=vendor exec $(PYTHON) -m tests.chaos.soak --duration $(or $(DURATION),120) --uploads $(or $(UPLOADS),300)

.PHONY: overload
overload: $(VENV)/.dev  ## A thousand uploads at once on the local stack, and the answers meanwhile; UPLOADS=1000 MINUTES=20
	@PYTHONPATH=vendor exec $(PYTHON) -m tests.chaos.overload --uploads $(or $(UPLOADS),1000) --minutes $(or $(MINUTES),20)

.PHONY: check
check: $(AWS_VENV)/.made lint types test package-check static  ## Everything that has to be green before a commit lands

.PHONY: least-privilege
least-privilege: $(VENV)/.dev  ## The tests of the system with the functions under their own roles
	@# Two start a local AWS of their own, as a user does: it is without IAM, and no role is asked.
	@ENFORCE_IAM=1 $(PYTHON) -m pytest tests/system --ignore tests/system/test_local_run.py \
		--ignore tests/system/test_documented_deployments.py

.PHONY: format
format: $(VENV)/.dev  ## Format the code
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix-only .

.PHONY: architecture
architecture: $(VENV)/.run  ## Draw docs/images/architecture.svg anew, from the code's imports
	@$(PYTHON) -m operations.architecture

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

.PHONY: lock
lock: $(SUPPLY_VENV)/.made  ## Write the locks with all hashes anew; UPGRADE=1 to the newest that fit
	@$(PYTHON) -m infrastructure.lock $(SUPPLY_VENV)/bin/uv $(if $(UPGRADE),--upgrade)

.PHONY: audit
audit: $(SUPPLY_VENV)/.made  ## Ask PyPI whether anything in the locks has a known vulnerability
	@$(PYTHON) -m infrastructure.audit $(SUPPLY_VENV)/bin/pip-audit

.PHONY: fuzz
fuzz: $(FUZZ_VENV)/.made  ## Look for files that the decoder stumbles over; SECONDS=600
	@PYTHONPATH=vendor exec $(FUZZ_VENV)/bin/python -m tests.fuzz.run --seconds $(or $(SECONDS),600) $(ARGS)

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

$(VENV)/.run: $(VENV)/.made local/requirements.lock local/photos.lock
	@echo "Installing the packages (once, about half a minute)"
	@$(PYTHON) local/install.py local/requirements.lock
	@touch $@

$(VENV)/.dev: $(VENV)/.made requirements-dev.lock local/photos.lock
	@echo "Installing the packages and tools (once, about a minute)"
	@$(PYTHON) local/install.py requirements-dev.lock
	@touch $@ $(VENV)/.run

$(CHECKOV_VENV)/.checkov: infrastructure/requirements.lock $(VENV)/.made
	@echo "Installing checkov (once, about a minute)"
	@rm -rf $(CHECKOV_VENV) && $(PYTHON) -m venv $(CHECKOV_VENV)
	@$(CHECKOV_VENV)/bin/python -m pip install $(LOCKED) -r infrastructure/requirements.lock
	@touch $@

$(SUPPLY_VENV)/.made: infrastructure/supply.lock $(VENV)/.made
	@rm -rf $(SUPPLY_VENV) && $(PYTHON) -m venv $(SUPPLY_VENV)
	@$(SUPPLY_VENV)/bin/python -m pip install $(LOCKED) -r infrastructure/supply.lock
	@touch $@

# The fuzzer has no wheels for a newer Python.
$(FUZZ_VENV)/.made: tests/fuzz/requirements.lock local/find-python
	@python=$$(sh local/find-python 13 12) && rm -rf $(FUZZ_VENV) && "$$python" -m venv $(FUZZ_VENV)
	@$(FUZZ_VENV)/bin/python -m pip install $(LOCKED) -r tests/fuzz/requirements.lock
	@touch $@

# The commands of docs/deploy.md are tested with it.
$(AWS_VENV)/.made: infrastructure/aws.lock $(VENV)/.made
	@echo "Installing the AWS command line (once, about a minute)"
	@rm -rf $(AWS_VENV) && $(PYTHON) -m venv $(AWS_VENV)
	@$(AWS_VENV)/bin/python -m pip install $(LOCKED) -r infrastructure/aws.lock
	@touch $@

# What a Lambda function finds without bringing it: the runtime client, and boto3.
$(LAMBDA)/.made: $(VENV)/.made benchmarks/cold_start/runtime.lock
	@rm -rf $(LAMBDA)
	@$(PYTHON) -m pip install $(LOCKED) --target $(LAMBDA) -r benchmarks/cold_start/runtime.lock
	@touch $@

# PyTorch is large and of no use to anything else, so it has an environment of its own.
$(TRAINING_VENV)/.train: training/requirements.txt
	@python=$$(command -v python3.11 python3.12 python3.13 python3 | head -1) && \
		rm -rf $(TRAINING_VENV) && "$$python" -m venv $(TRAINING_VENV)
	@$(TRAINING_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r training/requirements.txt
	@touch $@

# The libraries that we are compared with; sharp only where there is Node.js.
$(BENCH_IMAGING_VENV)/.made: $(VENV)/.made requirements.txt local/photos.lock \
		benchmarks/imaging/requirements.txt benchmarks/imaging/package-lock.json
	@echo "Installing the libraries to compare with (once, about a minute)"
	@rm -rf $(BENCH_IMAGING_VENV) && $(PYTHON) -m venv $(BENCH_IMAGING_VENV)
	@$(BENCH_IMAGING_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r benchmarks/imaging/requirements.txt
	@$(BENCH_IMAGING_VENV)/bin/python -m pip install $(LOCKED) --no-deps -r local/photos.lock
	@if command -v npm >/dev/null; then \
		npm ci --prefix benchmarks/imaging --no-audit --no-fund --loglevel=error; \
	else echo "Node.js is missing, so sharp is left out."; fi
	@touch $@

# The servers that we are compared with, and both sides' libraries.
$(BENCH_INFERENCE_VENV)/.made: $(VENV)/.made benchmarks/inference/requirements.txt requirements.txt
	@echo "Installing the servers to compare with (once, about a minute)"
	@rm -rf $(BENCH_INFERENCE_VENV) && $(PYTHON) -m venv $(BENCH_INFERENCE_VENV)
	@$(BENCH_INFERENCE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r benchmarks/inference/requirements.txt
	@$(BENCH_INFERENCE_VENV)/bin/python -m pip install $(LOCKED) --no-deps -r local/photos.lock
	@touch $@

# What Lambda's own runtime holds, and nothing else: what a package lacks must not be found there.
$(LAMBDA_VENV)/.made: $(VENV)/.made benchmarks/cold_start/runtime.lock
	@rm -rf $(LAMBDA_VENV) && $(PYTHON) -m venv $(LAMBDA_VENV)
	@$(LAMBDA_VENV)/bin/python -m pip install $(LOCKED) -r benchmarks/cold_start/runtime.lock
	@touch $@
