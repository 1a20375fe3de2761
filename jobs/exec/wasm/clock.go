package wasm

import (
	"crypto/sha3"
	"io"
	"math"
)

// Where the two clocks of a program start and how far apart two readings of one
// clock are, in nanoseconds (protocol, section 5, "profile").
const (
	realStart = 1640995200 * second // 2022-01-01T00:00:00Z
	monoStart = tick
	tick      = 1_000_000
	second    = 1_000_000_000
)

// clocks are the real and the monotonic time of one program. They move only
// when they are read and when the program sleeps.
type clocks struct {
	real, mono int64 // the next reading, ns
}

func newClocks() *clocks { return &clocks{real: realStart, mono: monoStart} }

func (c *clocks) walltime() (sec int64, nsec int32) {
	now := c.real
	c.real = advance(c.real, tick)
	return now / second, int32(now % second)
}

func (c *clocks) nanotime() int64 {
	now := c.mono
	c.mono = advance(c.mono, tick)
	return now
}

// sleep returns at once, having moved both clocks.
func (c *clocks) sleep(ns int64) {
	if ns > 0 {
		c.real, c.mono = advance(c.real, ns), advance(c.mono, ns)
	}
}

func advance(t, by int64) int64 {
	if t > math.MaxInt64-by {
		return math.MaxInt64
	}
	return t + by
}

// newRandom returns the one stream of random bytes that a task has (protocol,
// section 5, "profile").
func newRandom(task [32]byte) io.Reader {
	h := sha3.NewSHAKE256()
	h.Write([]byte("muster/random/1")) // a hash does not return errors
	h.Write(task[:])
	return h
}
