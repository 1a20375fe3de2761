/*
 * One height, n = 4, of which one lies, and the others crash and start again at
 * any time, as often as they like (docs/protocol.md, section 15).
 *
 * A member acts in memory; what it said and where it stands goes to disk in
 * batches, each whole or not at all; votes leave when they are on disk. A crash
 * loses what is not.
 */
#include "voting.pml"

int memory[3];
int disk[3];
int sent[3];                      /* votes that left */

#define takeable(v) 1
#define votes(h, kind, r, v) (LIARS + says(sent[0], kind, r, v) + \
	says(sent[1], kind, r, v) + says(sent[2], kind, r, v))

/* What a member finds on disk. Of slots it needs those of its own round. */
#if defined(LOCK_FORGOTTEN)
#define restored(x) ((x) & ~(31 << 21))
#elif defined(PREPARE_FORGOTTEN)
#define restored(x) ((x) & ~(VOTES & ((1 << bit0(COMMIT, 0)) - 1)))
#elif defined(ROUND_FORGOTTEN)    /* and with it that slots were used */
#define restored(x) ((x) & (31 << 21))
#else
#define restored(x) (x)
#endif

#define before(i, j) (memory[i] > memory[j] || memory[i] == memory[j] && \
	(disk[i] > disk[j] || disk[i] == disk[j] && sent[i] > sent[j]))

inline ascend(i, j) {
	if
	:: before(i, j) -> swap(memory[i], memory[j]); swap(disk[i], disk[j]); swap(sent[i], sent[j])
	:: else
	fi
}

/* No slot that left holds two votes: I4, across restarts. */
#define single(set) ((set) != 3)
#define slots(i, kind) (single(said(sent[i], kind, 0)) && \
	single(said(sent[i], kind, 1)) && (ROUNDS < 3 || single(said(sent[i], kind, 2))))

#define sync(i) disk[i] = memory[i]
#define send(i) \
	sent[i] = sent[i] | (memory[i] & VOTES); hold(slots(i, PREPARE) && slots(i, COMMIT))

inline settle() {
	/* In a mutant each step is a batch of its own: fewer states, as bad. */
#if defined(MUTANT) && !defined(SENT_FIRST)
	sync(0); sync(1); sync(2);
#endif
#ifdef MUTANT
	send(0); send(1); send(2);
#endif
	assert(decided(0, 0) + decided(0, 1) <= 1);   /* I1 */
	ascend(0, 1); ascend(1, 2); ascend(0, 1)
}

#define act(i) \
	voteFor(memory[i], 0, 0) voteFor(memory[i], 0, 1) enter(memory[i]) \
	:: d_step { disk[i] != memory[i] -> sync(i); send(i); settle() } \
	:: d_step { memory[i] != restored(disk[i]) -> memory[i] = restored(disk[i]); settle() }

init {
	do
	act(0)
	act(1)
	act(2)
	od
}
