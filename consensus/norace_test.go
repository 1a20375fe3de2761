//go:build !race

package consensus_test

// stride is the step of exhaustive tests.
const stride = 1
