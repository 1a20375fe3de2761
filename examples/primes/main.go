// Command primes counts the primes below a limit by dividing, so that it takes its
// time: a job to watch while members come and go.
package main

import (
	"fmt"
	"os"
	"strconv"
)

func main() {
	limit := uint64(1_000_000)
	if len(os.Args) > 1 {
		var err error
		if limit, err = strconv.ParseUint(os.Args[1], 10, 32); err != nil {
			fmt.Fprintln(os.Stderr, "primes: a limit of at most 4294967295:", err)
			os.Exit(2)
		}
	}
	fmt.Printf("%d primes below %d\n", count(uint32(limit)), limit)
}

func count(limit uint32) int {
	n := 0
	for p := uint32(2); p < limit; p++ {
		if isPrime(p) {
			n++
		}
	}
	return n
}

func isPrime(p uint32) bool {
	for d := uint32(2); uint64(d)*uint64(d) <= uint64(p); d++ {
		if p%d == 0 {
			return false
		}
	}
	return true
}
