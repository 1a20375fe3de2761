// Command factor looks for a factor of a number by Pollard's rho, from a start that
// it draws: which one it finds is luck, and to check it takes one division.
package main

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"strconv"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "factor: one number")
		os.Exit(2)
	}
	n, err := strconv.ParseUint(os.Args[1], 10, 64)
	if err != nil || n < 4 {
		fmt.Fprintln(os.Stderr, "factor: a number of at least 4, below 2^64")
		os.Exit(2)
	}
	fmt.Println(factor(n))
}

// factor returns a factor of n, which is not prime.
func factor(n uint64) uint64 {
	if n%2 == 0 {
		return 2
	}
	for {
		x, c := 1+rand.Uint64N(n-1), 1+rand.Uint64N(n-1)
		next := func(x uint64) uint64 {
			high, low := bits.Mul64(x, x)
			_, x = bits.Div64(high%n, low, n)
			low, carry := bits.Add64(x, c, 0)
			return bits.Rem64(carry, low, n)
		}
		y, d := x, uint64(1)
		for d == 1 {
			x, y = next(x), next(next(y))
			d = divisor(max(x, y)-min(x, y), n)
		}
		if d != n {
			return d
		}
	}
}

func divisor(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
