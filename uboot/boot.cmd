# SPDX-License-Identifier: LGPL-2.1-or-later
# The slots of abupdated (Boot=uboot): what U-Boot runs at every boot to choose one of them. Made
# into what `source` takes, and what distro boot finds on the boot partition, by
#     mkimage -T script -C none -d boot.cmd boot.scr
# What may be set before:
#     devtype, devnum, distro_bootpart    the boot partition (else mmc, 0, 1; distro boot sets them)
#     abupdate_save                       saves the environment (else saveenv)
#     abupdate_boot                       starts ${slot} with ${bootargs} and ${abupdate_initrd}
#                                         from ${kernel_addr_r} (else booti)
#
# A count that cannot be saved does not count: its slot is passed over. A slot on trial that does
# not start ends in a reset, and the next try; from any other slot the way leads on to the next.
# Where none has a try left, the last one is started all the same.
if test -z "${devtype}"; then
        setenv devtype mmc
        setenv devnum 0
        setenv distro_bootpart 1
fi
last=.
for word in ${BOOT_ORDER} .; do
        setenv slot
        counted=no
        if test ${word} = .; then
                if test ${last} = .; then
                        echo "abupdate: BOOT_ORDER is empty: the environment is lost or new"
                else
                        echo "abupdate: nothing else is left"
                        setenv slot ${last}
                fi
        elif env exists BOOT_${word}_LEFT; then
                setenv abupdate_get "setenv abupdate_left \${BOOT_${word}_LEFT}"
                run abupdate_get
                if itest ${abupdate_left} -gt 0; then
                        setexpr abupdate_left ${abupdate_left} - 1
                        setenv BOOT_${word}_LEFT ${abupdate_left}
                        if test -n "${abupdate_save}"; then
                                run abupdate_save && counted=yes
                        else
                                saveenv && counted=yes
                        fi
                        if test ${counted} = yes; then
                                setenv slot ${word}
                        else
                                echo "abupdate: the count of slot ${word} cannot be saved"
                        fi
                fi
        else
                setenv slot ${word}
        fi
        last=${word}
        if test -n "${slot}"; then
                # in quotes: a command takes 16 words, a command line of the kernel may have more
                setenv abupdate_get "setenv bootargs \"\${BOOT_${slot}_ARGS}\""
                run abupdate_get
                setenv abupdate_get "setenv abupdate_files \"\${BOOT_${slot}_FILES}\""
                run abupdate_get
                echo "abupdate: slot ${slot}"
                setenv abupdate_initrd -
                address=${kernel_addr_r}
                loaded=yes
                for file in ${abupdate_files}; do
                        if load ${devtype} ${devnum}:${distro_bootpart} ${address} ${file}; then
                                if test ${address} = ${ramdisk_addr_r}; then
                                        setenv abupdate_initrd ${address}:${filesize}
                                fi
                                address=${ramdisk_addr_r}
                        else
                                loaded=no
                        fi
                done
                if test ${loaded} = yes; then
                        if test -n "${abupdate_boot}"; then
                                run abupdate_boot
                        else
                                booti ${kernel_addr_r} ${abupdate_initrd} ${fdtcontroladdr}
                        fi
                fi
                echo "abupdate: slot ${slot} does not start"
                if test ${counted} = yes; then
                        reset
                fi
        fi
done
