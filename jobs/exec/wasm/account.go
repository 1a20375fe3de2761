package wasm

import (
	"github.com/tetratelabs/wazero/sys"

	"github.com/muster-network/muster/jobs/exec"
)

// What a program can make the host keep beside its memory and files is charged
// to its memory: so much for each file, folder and open descriptor (with
// the path that it was opened by), and for each name that an open folder has been asked for, in bytes.
const (
	entryCost = 512
	nameCost  = 128
)

// account counts what one run holds against its limits, in bytes. Going over a
// limit ends the run, except that growing the linear memory is only refused:
// there a program can notice and do with less.
type account struct {
	memory, disk    int64 // limits
	linear          int64 // linear memory
	inputs, outputs int64 // files and what else the host keeps
	written         int64 // bytes under /out, against disk
	names, paths    int   // files and folders under /out, bytes of their paths
	crowded         bool  // the limit that ended the run was one of names
	peak            int64 // most that linear, inputs and outputs were together
	over            int32 // the Limit constant that ended the run
	broken          error // what this machine could not give
}

// grow charges a linear memory of size bytes in all, or reports that it does
// not fit.
func (a *account) grow(size int64) bool {
	if size > a.memory-a.inputs-a.outputs {
		return false
	}
	a.linear = size
	a.note()
	return true
}

// input charges an input file, or reports that it does not fit.
func (a *account) input(size int64) bool {
	a.inputs += size + entryCost
	a.note()
	return a.inputs <= a.memory
}

// write charges bytes more, or less, in files under /out. It does not return
// when that is over a limit.
func (a *account) write(bytes int64) {
	if bytes > a.disk-a.written {
		a.stop(exec.LimitDisk)
	}
	a.hold(bytes)
	a.written += bytes
}

// name charges files or folders more, or less, under /out, and bytes of paths. It
// does not return when that is over a limit.
func (a *account) name(nodes, paths int) {
	if nodes > exec.MaxNames-a.names || paths > exec.MaxPaths-a.paths {
		a.crowd()
	}
	a.names += nodes
	a.paths += paths
}

// crowd ends the program for its names under /out.
func (a *account) crowd() {
	a.crowded = true
	a.stop(exec.LimitDisk)
}

// hold charges bytes more, or less, of memory that the host keeps for the
// program. It does not return when that is over the limit.
func (a *account) hold(bytes int64) {
	if bytes > a.memory-a.linear-a.inputs-a.outputs {
		a.stop(exec.LimitMemory)
	}
	a.outputs += bytes
	a.note()
}

func (a *account) note() { a.peak = max(a.peak, a.linear+a.inputs+a.outputs) }

// stop ends the program from inside a host function. The engine takes this
// panic for an exit and unwinds; over tells it from the program's own.
func (a *account) stop(code int32) {
	a.over = code
	panic(sys.NewExitError(0))
}

// fail ends the program like stop, for a fault of this machine.
func (a *account) fail(err error) {
	a.broken = err
	panic(sys.NewExitError(0))
}
