package wasm

import (
	"fmt"
	"syscall"

	"github.com/tetratelabs/wazero/experimental"
)

// linear is the linear memory of one run: a reserved range of addresses of
// which a growing part is accessible. It never moves, costs nothing until it is
// touched, arrives zeroed from the kernel and goes back to it at the end, so
// that a worker stays small whatever its guests asked for.
type linear struct {
	account *account
	space   []byte
}

// Allocate implements experimental.MemoryAllocator.
func (l *linear) Allocate(_, most uint64) experimental.LinearMemory {
	size := min(most, uint64(l.account.memory))
	size -= size % pageSize
	if size == 0 {
		return l
	}
	space, err := syscall.Mmap(-1, 0, int(size), syscall.PROT_NONE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		l.account.fail(fmt.Errorf("reserve %d bytes of address space: %w", size, err))
	}
	l.space = space
	return l
}

// Reallocate implements experimental.LinearMemory.
func (l *linear) Reallocate(size uint64) []byte {
	if size > uint64(len(l.space)) || !l.account.grow(int64(size)) {
		return nil
	}
	if size == 0 {
		return []byte{}
	}
	if err := syscall.Mprotect(l.space[:size], syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		l.account.fail(fmt.Errorf("make %d bytes of memory accessible: %w", size, err))
	}
	return l.space[:size:size]
}

// Free implements experimental.LinearMemory.
func (l *linear) Free() {
	if l.space != nil {
		_ = syscall.Munmap(l.space) // the range is ours: it cannot fail
		l.space = nil
	}
}
