/*
 * One height: n = 4, of which one lies, agree on one value.
 *
 * The three correct members are alike, so they are kept in ascending order:
 * states that differ only in who is who are one.
 */
#include "voting.pml"

int member[3];
bit valid[VALUES];                /* to some correct member */

#define votes(h, kind, r, v) (LIARS + says(member[0], kind, r, v) + \
	says(member[1], kind, r, v) + says(member[2], kind, r, v))
#define takeable(v) valid[v]

#if VALUES == 2
#define decisions (decided(0, 0) + decided(0, 1))
#define invalid (decided(0, 1) && !valid[1])
#else
#define decisions (decided(0, 0) + decided(0, 1) + decided(0, 2))
#define invalid (decided(0, 1) && !valid[1] || decided(0, 2) && !valid[2])
#endif

inline ascend(i, j) {
	if
	:: member[i] > member[j] -> swap(member[i], member[j])
	:: else
	fi
}

inline settle() {
	assert(decisions <= 1);                       /* I1 */
	hold(!invalid);                               /* I3 */
	ascend(0, 1); ascend(1, 2); ascend(0, 1)
}

#if VALUES == 2
#define act(x) voteFor(x, 0, 0) voteFor(x, 0, 1) enter(x)
#else
#define act(x) voteFor(x, 0, 0) voteFor(x, 0, 1) voteFor(x, 0, 2) enter(x)
#endif

init {
	/* How many values are valid: what no correct member takes, none decides. */
	d_step { valid[0] = 1 };
	if
	:: valid[1] = 1
	:: skip
	fi;
#if VALUES == 3
	if
	:: valid[1] -> valid[2] = 1
	:: skip
	fi;
#endif
	do
	act(member[0])
	act(member[1])
	act(member[2])
	od
}
