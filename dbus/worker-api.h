/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dbus/worker-api.h - what passes between a worker process and whoever started it (the daemon, or abctl --offline).
 *
 * One worker is one job: `abupdated --worker [--root=DIR]`, with a SOCK_SEQPACKET socket as descriptor 3 and, where
 * the job has an image, the image as descriptor 4 and its manifest as descriptor 5. Every message is one packet with one
 * JSON object. The first packet goes to the worker and is the order:
 *
 *   {"type":"update","job":7,"name":"image.send","size":1234, ...options of the type...}
 *
 * Types and their options (all strings but where said; absent means default):
 *   update    name, size (bytes of the image when known), offset (where in it the descriptor begins), arm (bool),
 *             version, accept, reinstall (bool), allow-downgrade (bool), manifest (bool: there is a descriptor 5)
 *   plan      as update; changes nothing and ends with "steps"
 *   rollback  slot ("" = the last good one)
 *   mark      slot ("" = booted), verdict good|bad, reason
 *   prune     -
 *   merge     scheduled (bool)
 *   export    slot, compress (bool), digest (bool: descriptor 5 takes the SHA-256); descriptor 4 is written to
 *   restore   slot, sha256, accept
 *   discard   slot
 *   pin       slot, pinned (bool)
 *   begin     in-place (bool)
 *   commit    transaction
 *   abort     transaction
 *   check     ends with "findings"
 *   inspect   with descriptor 5; changes nothing and ends with "image"
 *   recover   what every other job does first, and nothing else: converge from the facts on disk
 *
 * Packets from the worker, in this order:
 *   {"msg":"ready"}                                     the checks passed: the job is real now (update, plan wait for
 *                                                       the head of the image before this)
 *   {"msg":"progress","phase":"write","done":N,"total":N}   total 0: not known; at most 20 a second
 *   {"msg":"slot","slot":"5"}                           the slot that the job works on, once it is known
 *   {"msg":"point-of-no-return"}                        from here a cancel is refused
 *   {"msg":"world"}                                     with one descriptor (memfd, SCM_RIGHTS): the machine as the
 *                                                       worker left it, a JSON object, see below. Always sent, after a
 *                                                       failure too, unless the machine could not be read at all
 *   {"msg":"result","code":0,"kind":"","text":"...", "steps":[...], "findings":[...], "transaction":"...",
 *    "slot":"5", "image":{...}}                       the last one. code: 0 or -errno; kind: ErrKind name; text: one
 *                                                       sentence for people, for success as well
 *     steps:    [{"phase":"write","text":"receive image.send","bytes":123}, ...]
 *     image:    {"version":"2.0","version-text":"","compatible":"...","min-daemon":"","compression":"zstd","epoch":N,
 *                "build-time":USEC,"valid-until":USEC or 0,"size":N,"bytes":N,"inodes":N,"kept":N,"places":["/"],
 *                "bases":["UUID"],"error":"","message":""}
 *     findings: [{"severity":"error|warning|info","subject":"slot 5","problem":"...","advice":"..."}, ...]
 *
 * SIGTERM asks the worker to cancel: it stops at a safe point, undoes, sends result Cancelled, exits. A worker that ends
 * without a result has died; its job failed with WorkerDied and the next worker cleans up after it.
 *
 * A SIGTERM that sigqueue(3) gives the value WORKER_BY_HAND comes from a person; any other from the end of the service or of
 * the machine, and what goes on by itself may do so after it.
 * SIGUSR1 asks a merge to pause and SIGUSR2 to go on; other jobs do not listen. Not before it is ready.
 *
 * The world:
 *   {"backend":"snapshot","boot-backend":"default-subvolume","verification":"signature|none",
 *    "capabilities":["incremental",...],"state":"steady|staged|trial|fallback","reason":"...","version":"1.0",
 *    "booted":"2","next":"2","good":"2",                 "" where there is none
 *    "reboot-required":false,"transaction":"","problems":["..."],
 *    "slots":[{"id":"2","state":"good","version":"1.0","reason":"","pinned":false,"created":USEC,"size":N,
 *              "exclusive":N,"read-only":false,"kernel-version":"","devices":["/dev/sda2"],"device-kind":"sprout",
 *              "device-size":N,"depends-on":"a","to-merge":N,"tries-left":N or -1,
 *              "tries":N or -1}],
 *    "refused":[{"version":"2.0","reason":"..."}],
 *    "history":[{"time":USEC,"job":7,"type":"update","slot":"3","version":"2.0","status":0,"error":"","message":"..."}]}
 *   history: oldest first, at most 200.
 *
 * Every string, in a packet and in the world, is plain text (str_printable()) of at most WORKER_STRING_MAX bytes; lists of
 * strings have at most 256. The daemon takes nothing else.
 */
#pragma once

#define WORKER_BY_HAND 1

#define WORKER_SOCKET_FD   3
#define WORKER_IMAGE_FD    4
#define WORKER_MANIFEST_FD 5
#define WORKER_PACKET_MAX  (128 * 1024)
#define WORKER_STRING_MAX  4096u
