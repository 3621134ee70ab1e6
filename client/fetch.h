/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/fetch.h - what passes between abctl and abctl-fetch URL RETRIES OFFSET.
 *
 * The file goes to descriptor 3. What happens goes to descriptor 4, a line each, the last one is one of the last three:
 *
 *   head SIZE NAME     the first byte is there, that at OFFSET; SIZE of the whole file, 0: the server does not say
 *   note TEXT          for people: the connection broke and is continued
 *   done               every byte has been written
 *   closed             the reader has left
 *   failed KIND TEXT   KIND of base/err.h
 */
#pragma once

#define FETCH_OUT_FD   3
#define FETCH_NEWS_FD  4
#define FETCH_LINE_MAX 4096
