package main

import "testing"

func TestAFactorDividesItsNumber(t *testing.T) {
	for _, n := range []uint64{4, 9, 15, 91, 1_000_003 * 1_000_033, 4_294_967_291 * 4_294_967_279} {
		if d := factor(n); d <= 1 || d >= n || n%d != 0 {
			t.Errorf("%d is no factor of %d", d, n)
		}
	}
}
