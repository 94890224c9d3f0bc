# Every handle calls a script of e2e/ or cargo; `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help up down test lint crds images local local-down local-clean bench faults soak model herd

help: ## lists the handles
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | awk -F '\t' '{printf "  make %-12s %s\n", $$1, $$2}'

up: ## from a fresh machine to a served cache in Kubernetes (CLUSTER=current: in the cluster of your kubeconfig)
	@e2e/scripts/up

down: ## ends what make up began
	@e2e/scripts/down

test: ## everything that CI runs; ends with a line that counts
	@e2e/scripts/test

lint: ## formatting, clippy, charts, scripts, the generated definition
	@e2e/scripts/lint

crds: ## generates the resource definition and its reference from the Rust types
	@e2e/scripts/crds

images: ## builds the container images and prints their names
	@e2e/scripts/prerequisites rust images && e2e/scripts/build
	@e2e/images/images build && e2e/images/images names

local: ## BirbNest on loopback without Kubernetes: two APIs, a worker and their servers (run again: starts what died)
	@e2e/scripts/prerequisites rust servers && e2e/scripts/build
	@e2e/local/local up

local-down: ## ends make local, keeps its data
	@e2e/local/local down

local-clean: ## ends make local and forgets its data
	@e2e/local/local clean

bench: ## side by side with redis-benchmark, a JetStream ack and COPY; a table, and JSON below target/
	@e2e/scripts/prerequisites rust servers bench && e2e/scripts/build
	@e2e/scripts/bench

faults: ## kills everything under load and proves that no promise was broken; FAULTS="--duration 60 --seed 7", a table, and JSON
	@e2e/scripts/prerequisites rust servers && e2e/scripts/build
	@e2e/scripts/faults $(FAULTS)

soak: ## shows that memory stays bounded: 1M keys, a backlog of 1M, 1,000 slow clients; SOAK="--duration 20m", a table
	@e2e/scripts/prerequisites rust servers && e2e/scripts/build
	@e2e/scripts/soak $(SOAK)

model: ## explores the protocol state by state, and without each of its rules (six minutes, 2 GB)
	@e2e/scripts/prerequisites rust && e2e/scripts/build
	@e2e/scripts/model

herd: ## the operator with 200 BirbNests: requests to the API server, memory, a restart; HERD="--nests 50,200", a table
	@e2e/scripts/prerequisites servers
	@e2e/scripts/herd $(HERD)
