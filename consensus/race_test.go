//go:build race

package consensus_test

// stride thins out exhaustive tests of code without goroutines where every
// signature costs ten times as much.
const stride = 11
