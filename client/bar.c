/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/bar.h"
#include "client/text.h"

/* Every field has one width whatever it says, so that nothing jumps while numbers grow. */
#define PHASE_WIDTH   9
#define PERCENT_WIDTH 5
#define BYTES_WIDTH   24
#define RATE_WIDTH    13
#define TIME_WIDTH    13
#define GAP           2
#define BAR_MIN       10
#define BAR_MAX       40
#define CELL_BYTES    3 /* of one drawn character in UTF-8 */

enum { WITH_BAR = 1, WITH_TIME = 2, WITH_BYTES = 4, WITH_RATE = 8 };

/* From everything down to phase and percent alone. */
static const unsigned levels[] = {
                WITH_BAR | WITH_TIME | WITH_BYTES | WITH_RATE,
                WITH_BAR | WITH_TIME | WITH_BYTES,
                WITH_BAR | WITH_TIME,
                WITH_BAR,
                0,
};

static size_t level_width(unsigned with, size_t bar) {
        return PHASE_WIDTH + 1 + PERCENT_WIDTH + (with & WITH_BAR ? bar + 1 : 0) +
               (with & WITH_BYTES ? GAP + BYTES_WIDTH : 0) +
               (with & WITH_RATE ? GAP + RATE_WIDTH : 0) +
               (with & WITH_TIME ? GAP + TIME_WIDTH : 0);
}

static void draw(char *out, const Bar *b, size_t cells) {
        static const char *const unicode[] = {"━", "╸", "─"}, *const ascii[] = {"#", ">", "."};
        const char *const *set = b->utf8 ? unicode : ascii;
        double fraction = b->fraction < 0 ? 0 : b->fraction > 1 ? 1 : b->fraction;
        size_t full = (size_t) (fraction * (double) cells);

        for (size_t i = 0; i < cells; i++)
                out = stpcpy(out, set[i < full ? 0 : i == full && fraction > 0 ? 1 : 2]);
        *out = '\0';
}

static void bytes_text(char *out, size_t size, const Bar *b) {
        char done[16], total[16];

        *out = '\0';
        if (b->total > 0)
                snprintf(out, size, "%s of %s", format_bytes(done, b->done),
                                format_bytes(total, b->total));
        else if (b->done > 0)
                snprintf(out, size, "%s", format_bytes(done, b->done));
}

static void time_text(char *out, size_t size, const Bar *b) {
        char span[16];

        if (b->total > b->done && b->rate > 0)
                snprintf(out, size, "%s left", format_span(span, (b->total - b->done) / b->rate));
        else
                snprintf(out, size, "%s", format_span(span, b->elapsed));
}

/* Cuts @s to @width columns, between characters. */
static void cut(char *s, size_t width) {
        size_t n = strlen(s);

        while (n > 0 && text_width(s) > width) {
                do
                        n--;
                while (n > 0 && (s[n] & 0xc0) == 0x80);
                s[n] = '\0';
        }
        while (n > 0 && s[n - 1] == ' ')
                s[--n] = '\0';
}

char *bar_format(const Bar *b, size_t width) {
        char bar[BAR_MAX * CELL_BYTES + 2] = "", percent[16] = "", bytes[40] = "", rate[24] = "",
                                        span[24] = "", unit[16];
        unsigned with = 0;
        size_t cells = 0;
        char *line;

        for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
                if (level_width(levels[i], BAR_MIN) <= width) {
                        with = levels[i];
                        break;
                }
        if (with & WITH_BAR) {
                cells = BAR_MIN + width - level_width(with, BAR_MIN);
                draw(bar, b, cells > BAR_MAX ? BAR_MAX : cells);
        }
        if (b->fraction >= 0)
                snprintf(percent, sizeof(percent), "%3d %%",
                                (int) (100 * (b->fraction > 1 ? 1 : b->fraction)));
        bytes_text(bytes, sizeof(bytes), b);
        if (b->rate > 0)
                snprintf(rate, sizeof(rate), "%s/s", format_bytes(unit, b->rate));
        time_text(span, sizeof(span), b);

        line = str_printf("%-*s %s%s%*s%*s%*s%*s", PHASE_WIDTH, b->phase, bar, *bar ? " " : "",
                        PERCENT_WIDTH, percent, with & WITH_BYTES ? GAP + BYTES_WIDTH : 0,
                        with & WITH_BYTES ? bytes : "", with & WITH_RATE ? GAP + RATE_WIDTH : 0,
                        with & WITH_RATE ? rate : "", with & WITH_TIME ? GAP + TIME_WIDTH : 0,
                        with & WITH_TIME ? span : "");
        if (line)
                cut(line, width);
        return line;
}
