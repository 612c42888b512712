/* Every option of sori-turn, for turn_conf.c. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_OPTIONS_H
#define SORI_TURN_OPTIONS_H

#include "turn/turn_conf.h"

extern const struct conf_opt turn_options[]; /* into a struct turn_conf */
extern const size_t turn_options_n;

#endif
