//go:build race

package naivetest

// usual is how many certificates are shown unless a flag says otherwise. There
// is nothing to race here, and the detector makes it several times slower.
const usual = 1_500
