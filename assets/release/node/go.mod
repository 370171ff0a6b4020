module github.com/slipway-io/slipway/assets/release/node

go 1.26.0
