//go:build race

package bft

// slowness divides the number of simulated worlds under the race detector.
const slowness = 20
