# Everything people run. Variables: MANIFEST=, EXPERIMENT=, SET='key=value key=value', JOBS=, DATASET=.
MANIFEST ?= pipeline.yaml
EXPERIMENT ?=
SET ?=
JOBS ?=
DATASET ?=
USERS ?= 60000
BRANDS ?= 600
DIM ?= 64
LABELS ?= 10
RAREST ?= 0.001
SIGNAL ?= 2.5
SPREAD ?= 0
NOISE ?= 0.5
DEMO ?= data/demo
CARGO ?= cargo
STORES ?= yes
ENGINE ?= local

PREFIX ?= $(HOME)/.local

BIN := target/release
PROGRAMS := pipeline sample-stage train-stage score-stage report-stage demo-data
SETS := $(foreach set,$(SET),--set '$(set)')
ARGS := --manifest '$(MANIFEST)' $(SETS)
DEMO_ARGS := --users $(USERS) --brands $(BRANDS) --dim $(DIM) --labels $(LABELS) --rarest $(RAREST) \
	--signal $(SIGNAL) --spread $(SPREAD) --noise $(NOISE)

FEATURES := $(if $(filter no,$(STORES)),--no-default-features) \
	$(if $(filter distributed,$(ENGINE)),--features sample-stage/distributed)

BENCH_USERS ?= 1000000
PEER_USERS ?= 200000
PREDICT_USERS ?= 10000000
SCHEMAS := manifest record run plan status explain history accept clean graph check sweep bundle audience predict

.PHONY: bench bench-coverage bench-sample bench-tables bench-train bench-train-scale bench-neighbours bench-predict bench-score bench-audience bench-export bench-mlflow bench-report bench-ceiling bench-experiments bench-engines bench-peer bench-next-basket bench-growth build install pipeline population-2m holdout sample train score report demo-data fetch test check schemas clean help

help: ## This text
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

build: ## Build all programs: STORES=no without object stores, ENGINE=distributed with workers
	$(CARGO) build --release --workspace --locked $(FEATURES)

install: build ## Install the programs: PREFIX= (default ~/.local), into its bin folder
	install -d '$(DESTDIR)$(PREFIX)/bin'
	install $(addprefix $(BIN)/,$(PROGRAMS)) '$(DESTDIR)$(PREFIX)/bin'

pipeline: build $(if $(filter pipeline.yaml,$(MANIFEST)),data/demo/oracle.arrow) ## Run every experiment of MANIFEST, as far as it is stale, and make the report
	$(BIN)/pipeline run $(EXPERIMENT) $(ARGS) $(if $(JOBS),-j $(JOBS))

# The last file that demo-data writes, so that half a population is made again.
data/demo/oracle.arrow: | build
	$(BIN)/demo-data

demo-data: build ## Make the demo's population: USERS=, BRANDS=, DIM=, LABELS=, RAREST=, SIGNAL=, SPREAD=, NOISE=, DEMO= (folder)
	$(BIN)/demo-data --output '$(DEMO)' $(DEMO_ARGS)

# The law of the table at full size, chosen so that its first row is like the original's.
POPULATION := --users 2000000 --brands 3000 --dim 128 --labels 12 --rarest 0.0001 --signal 2 --spread 1 --noise 0.25
FULL := datasets/population-2m

$(FULL)/raw/oracle.arrow: | build
	$(BIN)/demo-data --output $(FULL)/raw $(POPULATION)

population-2m: build $(FULL)/raw/oracle.arrow ## The table at full size, and with 500 and 1,000 brands: 45 minutes on two cores
	$(BIN)/pipeline run --manifest $(FULL)/pipeline.yaml --memory 12GiB
	for top in 500 1000; do \
	  $(BIN)/pipeline run bau approach_4 --manifest $(FULL)/pipeline.yaml --memory 12GiB \
	    --set data.keep_brands.top=$$top --set run_dir=$(FULL)/runs/top-$$top || exit 1; \
	done

fetch: ## Fetch a real data set: DATASET=complete-journey, ta-feng or movielens-1m
	@test -x 'datasets/$(DATASET)/fetch.sh' || { echo "make fetch: DATASET= names a folder of datasets/ with a fetch.sh" >&2; exit 2; }
	'datasets/$(DATASET)/fetch.sh'

holdout: build ## Split the users again
	$(BIN)/sample-stage holdout $(ARGS)

sample train score: build need-experiment ## Run one stage of EXPERIMENT again, always
	$(BIN)/$@-stage $(if $(filter sample,$@),sample) $(ARGS) --experiment '$(EXPERIMENT)'

report: build ## Make the report again
	$(BIN)/report-stage $(ARGS)

.PHONY: need-experiment
need-experiment:
	@test -n '$(EXPERIMENT)' || { echo "say which: make $(firstword $(MAKECMDGOALS)) EXPERIMENT=bau" >&2; exit 2; }

test: build ## All tests: ENGINE=distributed also those with workers
	$(CARGO) test --release --workspace --locked $(FEATURES)

schemas: build ## Write docs/schemas, the schemas of all JSON, and docs/MANIFEST.md
	mkdir -p docs/schemas
	for name in $(SCHEMAS); do $(BIN)/pipeline schema $$name > docs/schemas/$$name.json; done
	$(BIN)/report-stage schema > docs/schemas/report.json
	$(BIN)/report-stage backtest-schema > docs/schemas/backtest.json
	$(BIN)/pipeline schema --format markdown > docs/MANIFEST.md

check: build ## What CI runs: format, lints, documentation, tests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --release --workspace --no-deps --locked
	$(CARGO) test --release --workspace --locked

bench: bench-sample bench-tables bench-train bench-train-scale bench-neighbours bench-report bench-peer bench-growth bench-ceiling ## Benchmarks, without bench-experiments; each leaves bench/out/NAME.json

bench-quick: build bench/.venv ## Small versions of some benchmarks against the ratios in bench/quick.json, in minutes
	bench/.venv/bin/python bench/quick.py

bench/.venv: bench/requirements.txt
	python3 -m venv bench/.venv
	bench/.venv/bin/pip install --quiet -r bench/requirements.txt
	touch bench/.venv

bench-sample: build bench/.venv ## Sampling against DuckDB and Polars: BENCH_USERS=
	bench/.venv/bin/python bench/sample/run.py --users $(BENCH_USERS)

bench-train: build bench/.venv ## Training against PyTorch
	bench/.venv/bin/python bench/train/run.py

bench-train-scale: build bench/.venv ## Training on 100,000 to 5,000,000 examples: BENCH_USERS=
	bench/.venv/bin/python bench/train/scale.py --users $(BENCH_USERS)

bench-neighbours: build bench/.venv ## Neighbours among 1,000,000 training users: BENCH_USERS=
	bench/.venv/bin/python bench/score/neighbours.py --users $(BENCH_USERS)

bench-predict: build bench/.venv ## Predicting for 10,000,000 users, killed and not: PREDICT_USERS=
	bench/.venv/bin/python bench/score/predict.py --users $(PREDICT_USERS)

bench-score: build bench/.venv ## Scoring and writing 1,000,000 users against PyTorch and numpy: BENCH_USERS=
	bench/.venv/bin/python bench/score/against_torch.py --users $(BENCH_USERS)

bench-audience: pipeline bench/.venv ## What audiences promise and keep, on the demo's test users
	bench/.venv/bin/python bench/score/audience.py

bench-export: build bench/.venv ## Exported models in onnxruntime and tract, against our own predictions
	$(CARGO) build --release --locked --manifest-path bench/onnx/Cargo.toml
	bench/.venv/bin/pip install --quiet -r bench/score/export.txt
	bench/.venv/bin/python bench/score/export.py --tract bench/onnx/target/release/onnx-check

bench-engines: ## Our queries on datafusion-distributed and Ballista, killed and not; takes long to build: BENCH_USERS=
	$(CARGO) build --release --locked --manifest-path bench/engines/Cargo.toml
	python3 bench/engines/run.py --users $(BENCH_USERS)

bench-mlflow: build bench/.venv ## The report on a real MLflow tracking server
	bench/.venv/bin/pip install --quiet -r bench/report/mlflow.txt
	bench/.venv/bin/python bench/report/mlflow_server.py

bench-report: build bench/.venv ## The report of ten experiments, 200,000 test users, 3,000 brands
	bench/.venv/bin/python bench/report/run.py

bench-tables: pipeline bench/.venv ## docs/TABLES.md and docs/PYTHON.md against the demo's results and a tiny data set
	bench/.venv/bin/python bench/tables/read_model.py

bench-coverage: ## How often intervals hold the truth, simulated
	$(CARGO) test --release --workspace --locked --test coverage -- --include-ignored --nocapture

bench-peer: build bench/.venv ## The whole pipeline against DuckDB, PyTorch and numpy: PEER_USERS=
	bench/.venv/bin/python bench/peer/run.py --users $(PEER_USERS)

bench-next-basket: bench/.venv ## TIFU-KNN and UP-CF over the users of datasets/complete-journey, which must have run
	bench/.venv/bin/python bench/peer/next_basket.py

bench-growth: build bench/.venv ## Time and memory of each stage, 50,000 to 2,000,000 users, 300 to 6,000 brands
	bench/.venv/bin/python bench/growth.py

bench-ceiling: pipeline bench/.venv ## What the noise in the demo's embeddings leaves possible
	bench/.venv/bin/python bench/score/embedding_ceiling.py

bench-experiments: build demo-data bench/.venv ## Shipped experiments, all data sets, three seeds: an hour; fetch the data first
	bench/.venv/bin/python bench/experiments.py

clean: ## Remove what was built; results stay
	$(CARGO) clean
