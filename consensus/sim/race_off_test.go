//go:build !race

package sim

// slowness divides the number of schedules under the race detector.
const slowness = 1
