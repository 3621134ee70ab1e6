# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private bus with the rules of a system bus, and the services that a machine has on it."""

import os
import subprocess
import time

SOCKET = "/run/dbus/system_bus_socket"
ADDRESS = f"unix:path={SOCKET}"
POLKIT_POLICY = "/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf"
POLKITD = ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd")

CONFIG = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>test</type>
  <listen>{address}</listen>
  <auth>EXTERNAL</auth>
  <servicedir>{services}</servicedir>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <deny send_destination="org.freedesktop.DBus"
          send_interface="org.freedesktop.DBus" send_member="UpdateActivationEnvironment"/>
  </policy>
  <policy user="root">
    <allow send_destination="org.freedesktop.DBus"
           send_interface="org.freedesktop.DBus.Monitoring"/>
  </policy>
{includes}
</busconfig>
"""

SERVICE = """\
[D-BUS Service]
Name=org.abupdate1
User=root
Exec={command}
"""


def configure(folder, policy, command):
    """Write the configuration of the bus into @folder; @command is what activation starts."""
    os.makedirs(f"{folder}/services", exist_ok=True)
    with open(f"{folder}/services/org.abupdate1.service", "w", encoding="utf-8") as file:
        file.write(SERVICE.format(command=command))
    files = [path for path in (policy, POLKIT_POLICY) if path and os.path.exists(path)]
    includes = "\n".join(f"  <include>{path}</include>" for path in files)
    with open(f"{folder}/bus.conf", "w", encoding="utf-8") as file:
        file.write(CONFIG.format(address=ADDRESS, services=f"{folder}/services",
                                 includes=includes))


def start(folder, log):
    """Start the bus; returns when it takes connections."""
    os.makedirs(os.path.dirname(SOCKET), exist_ok=True)
    reader, writer = os.pipe()
    process = subprocess.Popen(
        ["dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork", "--nopidfile",
         f"--print-address={writer}"], pass_fds=[writer], stdout=log, stderr=log)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        if not pipe.readline():
            raise RuntimeError("the bus did not start: see session.log")
    return process


def start_polkit(log):
    """Start the real polkitd on the bus and wait until it has its name."""
    program = next((path for path in POLKITD if os.access(path, os.X_OK)), None)
    if not program:
        raise RuntimeError("no polkitd on this host")
    process = subprocess.Popen([program, "--no-debug"], stdout=log, stderr=log)
    ask = ["dbus-send", "--system", "--print-reply=literal", "--dest=org.freedesktop.DBus", "/",
           "org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.PolicyKit1"]
    for _ in range(200):
        if "true" in subprocess.run(ask, stdout=subprocess.PIPE, stderr=log, check=False,
                                    text=True).stdout:
            return process
        time.sleep(0.05)
    raise RuntimeError("polkitd did not take its name: see session.log")
