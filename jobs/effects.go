package jobs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/muster-network/muster/consensus"
)

// EnvFence is the variable in which a program that acts on the world finds its
// fencing token (protocol, section 8).
const EnvFence = "MUSTER_FENCE"

// Fence is the token of one run: job id, height and run, with slashes between
// them. Of two tokens of one job that which sorts later as text is the later. On
// whom a program acts should refuse a token that is earlier than one it has seen:
// only so does an effect happen exactly once.
func Fence(job consensus.JobID, height, run uint64) string {
	return fmt.Sprintf("%s/%03d/%010d", job, height, run)
}

// Fenced returns the environment of a run with its token: it is no part of the
// task, whose id is the same in every run.
func Fenced(env []string, token string) []string {
	return withEnv(env, EnvFence, token)
}

// withEnv returns an environment with one variable more, by ascending key.
func withEnv(env []string, name, value string) []string {
	at := slices.IndexFunc(env, func(e string) bool {
		key, _, _ := strings.Cut(e, "=")
		return key >= name
	})
	if at < 0 {
		at = len(env)
	}
	return slices.Insert(slices.Clone(env), at, name+"="+value)
}
