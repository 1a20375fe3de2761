package main

import "testing"

func TestPrimesAreCountedBelowALimit(t *testing.T) {
	for limit, want := range map[uint32]int{0: 0, 2: 0, 3: 1, 10: 4, 100: 25, 1_000: 168} {
		if got := count(limit); got != want {
			t.Errorf("%d below %d, want %d", got, limit, want)
		}
	}
}
