/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/grub.h"

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
