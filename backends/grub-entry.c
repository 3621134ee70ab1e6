/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "backends/grub.h"
#include "os/file.h"

#define ENTRY "entry.cfg"
#define SPARE "entry.spare"

enum { ENTRY_MAX = 64 * 1024 };

/* One word of GRUB's language, whatever is in it but for @drop. */
static void put_word(FILE *f, const char *text, size_t n, char drop) {
        fputc('\'', f);
        for (; n > 0; text++, n--)
                if (*text == '\'')
                        fputs("'\\''", f);
                else if (*text != '\n' && *text != drop)
                        fputc(*text, f);
        fputc('\'', f);
}

/* Each option as a word: a blank inside double quotes divides nothing, as the kernel has it, and
 * GRUB puts quotes around such a word again. */
static void put_options(FILE *f, const char *options) {
        while (*(options += strspn(options, " \t\n"))) {
                bool quoted = false;
                size_t n = 0;

                for (; options[n] && (quoted || !strchr(" \t\n", options[n])); n++)
                        quoted ^= options[n] == '"';
                fputc(' ', f);
                put_word(f, options, n, '"');
                options += n;
        }
}

static void put_line(FILE *f, const char *before, const char *word, const char *after) {
        fputs(before, f);
        put_word(f, word, strlen(word), 0);
        fputs(after, f);
}

#define OPTIONS "# options: "

char *grub_entry_text(const GrubEntry *e) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return NULL;
        fprintf(f, OPTIONS "%s\n", e->options);
        put_line(f, "menuentry ", e->title, " --class abupdate --id ");
        put_line(f, "abupdate-", e->slot, " {\n");
        put_line(f, "        if abupdate_try ", e->slot, "; then\n");
        if (e->fs_uuid)
                put_line(f, "                search --no-floppy --fs-uuid --set=root ", e->fs_uuid,
                                "\n");
        else
                fputs("                set root=\"${abupdate_device}\"\n", f);
        put_line(f, "                linux ", e->linux_path, "");
        put_options(f, e->options);
        if (e->initrd)
                put_line(f, "\n                initrd ", e->initrd, "");
        fputs("\n        fi\n}\n", f);
        if (fclose(f) == 0)
                return text;
        free(text);
        return NULL;
}

int grub_entry_options(const char *text, char **ret) {
        const char *options = str_after(text, OPTIONS);

        *ret = options ? strndup(options, strcspn(options, "\n")) : NULL;
        return options && !*ret ? -ENOMEM : 0;
}

int grub_entry_read(int dir_fd, char **ret, bool *ret_cut) {
        _cleanup_(freep) char *text = NULL, *spare = NULL;
        int r = file_read_if_at(dir_fd, ENTRY, ENTRY_MAX, &text, NULL, NULL), q;

        q = file_read_if_at(dir_fd, SPARE, ENTRY_MAX, &spare, NULL, NULL);
        *ret_cut = q > 0;
        if (r == -ENOMEM || q == -ENOMEM)
                return -ENOMEM;
        if (q > 0 && *spare && (r <= 0 || !*text)) {
                *ret = MOVE(spare);
                return 1;
        }
        if (r > 0)
                *ret = MOVE(text);
        return r > 0;
}

int grub_entry_write(int dir_fd, const char *text, Err **reterr) {
        _cleanup_(freep) char *old = NULL;
        int r = file_read_if_at(dir_fd, ENTRY, ENTRY_MAX, &old, NULL, NULL);

        if (r == -ENOMEM)
                return err_new(reterr, r, "out of memory");
        r = r > 0 && !str_eq(old, text) ? file_write_at(dir_fd, SPARE, text, strlen(text), reterr)
                                        : 0;
        if (r >= 0 && !str_eq(old, text))
                r = file_write_at(dir_fd, ENTRY, text, strlen(text), reterr);
        if (r >= 0 && unlinkat(dir_fd, SPARE, 0) < 0)
                return errno == ENOENT ? 0 : err_sys(reterr, errno, "remove " SPARE);
        return r < 0 ? r : fs_sync(dir_fd, reterr);
}
