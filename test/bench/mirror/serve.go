package main

const serveEnv = "SLIPWAY_BENCH_SERVE"
