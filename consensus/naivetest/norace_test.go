//go:build !race

package naivetest

// usual is how many certificates are shown unless a flag says otherwise.
const usual = 10_000
