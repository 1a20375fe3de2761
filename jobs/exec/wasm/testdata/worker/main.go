// Command worker is nothing but a worker process.
package main

import (
	"os"

	"github.com/muster-network/muster/jobs/exec/wasm"
)

func main() {
	os.Exit(wasm.WorkerMain())
}
