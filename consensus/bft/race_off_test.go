//go:build !race

package bft

const slowness = 1
