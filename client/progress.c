/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>

#include "client/bar.h"
#include "client/json.h"
#include "client/out.h"
#include "client/progress.h"
#include "client/text.h"

#define DRAW_USEC (USEC_PER_SEC / 10)
#define RATE_USEC (USEC_PER_SEC / 2)
#define STEP      0.1 /* a plain line for each tenth */

struct Progress {
        const Client *client;
        ProgressMode mode;
        uint64_t job;

        char *phase; /* printable; NULL before the first */
        double fraction;
        uint64_t done, total;
        uint64_t since;   /* when the phase began */
        double next_step; /* the next tenth that gets a line */
        bool no_return;

        double rate; /* bytes a second, smoothed; 0: not known */
        uint64_t rate_time, rate_done;

        uint64_t drawn; /* when the bar was drawn last */
        bool dirty, on_screen, ended;
};

int progress_new(Client *c, Progress **ret, Err **reterr) {
        Progress *p = calloc(1, sizeof(*p));
        const char *term = getenv("TERM");

        if (!p)
                return err_sys(reterr, ENOMEM, "Cannot show progress");
        if (c->progress == PROGRESS_AUTO) {
                if (c->opt.quiet || c->json != JSON_OFF)
                        c->progress = PROGRESS_NONE;
                else if (term_is_tty() && !(term && str_eq(term, "dumb")))
                        c->progress = PROGRESS_BAR;
                else
                        c->progress = PROGRESS_LINES;
        }
        *p = (Progress){.client = c, .mode = c->progress, .fraction = -1, .since = now_monotonic()};
        *ret = p;
        return 0;
}

Progress *progress_free(Progress *p) {
        if (p) {
                progress_end(p, /* ok= */ false);
                free(p->phase);
                free(p);
        }
        return NULL;
}

/* Of this phase; below 0: nobody knows. */
static double shown_fraction(const Progress *p) {
        if (p->total > 0)
                return (double) p->done / (double) p->total;
        return p->fraction;
}

static void clear_bar(Progress *p) {
        if (p->on_screen)
                printf("\r\033[K");
        p->on_screen = false;
}

static void draw_bar(Progress *p) {
        uint64_t now = now_monotonic();
        size_t width = term_width();
        Bar b = {
                        .phase = str_or(p->phase, "start"),
                        .fraction = shown_fraction(p),
                        .done = p->done,
                        .total = p->total,
                        .rate = (uint64_t) p->rate,
                        .elapsed = (now - p->since) / USEC_PER_SEC,
                        .utf8 = term_utf8(),
        };
        /* the last column stays free: some terminals wrap when it is written */
        _cleanup_(freep) char *line = bar_format(&b, width > 1 ? width - 1 : 1);

        if (line)
                printf("\r%s\033[K", line);
        fflush(stdout);
        p->on_screen = true;
        p->dirty = false;
        p->drawn = now;
}

static json_object *event(const Progress *p, const char *name) {
        json_object *o = json_object_new_object();
        int r = jset_str(o, "event", name);

        if (r >= 0)
                r = jset_u64(o, "job", p->job);
        if (r >= 0 && p->phase)
                r = jset_str(o, "phase", p->phase);
        if (r < 0)
                json_object_put(o);
        return r < 0 ? NULL : o;
}

static void emit(json_object *o, int r) {
        if (o && r >= 0)
                out_json_line(o);
        json_object_put(o);
}

static void emit_progress(Progress *p) {
        json_object *o = event(p, "progress");
        int r = o ? jset(o, "progress", json_object_new_double(shown_fraction(p))) : -ENOMEM;

        if (r >= 0)
                r = jset_u64(o, "bytes-done", p->done);
        if (r >= 0)
                r = jset_u64(o, "bytes-total", p->total);
        if (r >= 0)
                r = jset_u64(o, "rate", (uint64_t) p->rate);
        if (r >= 0)
                r = jset_bool(o, "point-of-no-return", p->no_return);
        emit(o, r);
        p->dirty = false;
        p->drawn = now_monotonic();
}

/* What is left of a phase when it is over: "✓ write     1.1 GiB in 0:31, 35.2 MiB/s". */
static void close_phase(Progress *p, bool ok) {
        uint64_t usec = now_monotonic() - p->since;
        char bytes[16], span[16], rate[16];

        if (!p->phase || p->mode != PROGRESS_BAR)
                return;
        clear_bar(p);
        if (ok && p->total > p->done)
                p->done = p->total; /* the last step of the way was not announced */
        printf("%s%s%s ", paint(ok ? PAINT_GREEN : PAINT_RED),
                        term_utf8() ? (ok ? "✓" : "✗") : (ok ? "+" : "!"), paint(PAINT_PLAIN));
        if (p->done > 0)
                printf("%-9s %s", p->phase, format_bytes(bytes, p->done));
        else
                printf("%s", p->phase);
        if (usec >= USEC_PER_SEC)
                printf(" in %s", format_span(span, usec / USEC_PER_SEC));
        if (usec >= USEC_PER_SEC && p->done > 0)
                printf(", %s/s", format_bytes(rate, p->done * USEC_PER_SEC / usec));
        printf("\n");
}

static void open_phase(Progress *p, const char *phase) {
        close_phase(p, /* ok= */ true);
        free(p->phase);
        p->phase = str_printable(phase);
        p->since = p->rate_time = now_monotonic();
        p->done = p->total = p->rate_done = 0;
        p->fraction = -1;
        p->rate = 0;
        p->next_step = STEP;
        p->drawn = 0;

        if (p->mode == PROGRESS_LINES) {
                printf("%s\n", str_or(p->phase, ""));
                fflush(stdout);
        } else if (p->mode == PROGRESS_JSON)
                emit(event(p, "phase"), 0);
}

static void measure_rate(Progress *p) {
        uint64_t now = now_monotonic(), span = now - p->rate_time;
        double rate;

        if (span < RATE_USEC || p->done < p->rate_done)
                return;
        rate = (double) (p->done - p->rate_done) * (double) USEC_PER_SEC / (double) span;
        p->rate = p->rate > 0 ? 0.7 * p->rate + 0.3 * rate : rate;
        p->rate_time = now;
        p->rate_done = p->done;
}

static void line_for_tenth(Progress *p) {
        double fraction = shown_fraction(p);
        char done[16], total[16];

        if (fraction < p->next_step)
                return;
        if (p->total > 0)
                printf("%s: %.0f %% (%s of %s)\n", str_or(p->phase, ""), 100 * fraction,
                                format_bytes(done, p->done), format_bytes(total, p->total));
        else
                printf("%s: %.0f %%\n", str_or(p->phase, ""), 100 * fraction);
        fflush(stdout);
        while (p->next_step <= fraction)
                p->next_step += STEP;
}

void progress_job(Progress *p, uint64_t id) {
        p->job = id;
        if (p->mode == PROGRESS_JSON)
                emit(event(p, "start"), 0);
}

void progress_update(Progress *p, const ProgressFacts *f) {
        if (p->ended || p->mode == PROGRESS_NONE)
                return;
        if (f->phase && *f->phase && !str_eq(f->phase, p->phase))
                open_phase(p, f->phase);
        p->fraction = f->fraction;
        p->done = f->done;
        p->total = f->total;
        p->dirty = true;
        measure_rate(p);
        if (p->mode == PROGRESS_LINES)
                line_for_tenth(p);
        p->no_return = f->no_return;
        progress_tick(p);
}

void progress_tick(Progress *p) {
        uint64_t now = now_monotonic();

        if (p->ended || now - p->drawn < DRAW_USEC)
                return;
        /* the time on the bar moves although nothing else does */
        if (p->mode == PROGRESS_BAR && (p->dirty || now - p->drawn >= USEC_PER_SEC))
                draw_bar(p);
        if (p->mode == PROGRESS_JSON && p->dirty)
                emit_progress(p);
}

void progress_note(Progress *p, const char *fmt, ...) {
        _cleanup_(freep) char *text = NULL, *printable = NULL;
        json_object *o;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                return;
        }
        if (p->mode == PROGRESS_JSON) {
                o = event(p, "note");
                emit(o, o ? jset_str(o, "message", text) : -ENOMEM);
                return;
        }
        printable = str_printable(text);
        clear_bar(p);
        fflush(stdout);
        if (!p->client->opt.quiet)
                fprintf(stderr, "%s\n", str_or(printable, ""));
        if (p->mode == PROGRESS_BAR && p->phase && !p->ended)
                draw_bar(p);
}

void progress_end(Progress *p, bool ok) {
        if (p->ended)
                return;
        if (p->mode == PROGRESS_JSON && p->dirty)
                emit_progress(p);
        close_phase(p, ok);
        clear_bar(p);
        fflush(stdout);
        p->ended = true;
}
