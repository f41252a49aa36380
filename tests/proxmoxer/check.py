#!/usr/bin/env python3
"""Drives a simulated Proxmox VE cluster with the client that people use: proxmoxer.

    pip install proxmoxer requests
    mock-servers pve --world fixtures/worlds/proxmox.yaml --ca-out /tmp/ca.pem
    python3 tests/proxmoxer/check.py https://127.0.0.1:PORT /tmp/ca.pem

Exits 0 when every step behaved, 1 with the first that did not.
"""

import sys
import time
from urllib.parse import urlsplit

from proxmoxer import ProxmoxAPI
from proxmoxer.core import ResourceException
from proxmoxer.tools import Tasks

USER, TOKEN, SECRET = "novahost@pve", "sandbox", "00000000-0000-4000-8000-00000000a11a"
PASSWORD = "sandbox-password"
TEMPLATE_NODE, TEMPLATE = "pve1", 9000


def expect(claim, holds):
    print(("ok    " if holds else "FAIL  ") + claim)
    if not holds:
        sys.exit(1)


def wait(api, upid):
    for attempt in range(2):
        try:
            status = Tasks.blocking_status(api, upid, timeout=60, polling_interval=0.05)
            return status["exitstatus"]
        except ResourceException:
            # The task's file may appear a moment after its id was told.
            if attempt:
                raise


def refused(call, status, text):
    try:
        call()
    except ResourceException as error:
        return error.status_code == status and text in f"{error.status_message} {error.content} {error.errors}"
    return False


def walk(api, label):
    release = api.version.get()["release"]
    expect(f"{label}: version tells a release ({release})", release in ("8.4", "9.2"))
    expect(f"{label}: three nodes", len(api.nodes.get()) == 3)
    names = {row.get("name") for row in api.cluster.resources.get(type="vm")}
    expect(f"{label}: templates are listed", "tpl-debian-13" in names)

    vmid = int(api.cluster.nextid.get())
    source = api.nodes(TEMPLATE_NODE).qemu(TEMPLATE)
    upid = source.clone.post(newid=vmid, name=f"check-{label}", target="pve2", full=1, storage="fast")
    expect(f"{label}: the clone's task carries the source id", Tasks.decode_upid(upid)["id"] == str(TEMPLATE))
    expect(f"{label}: the clone succeeds", wait(api, upid) == "OK")

    guest = api.nodes("pve2").qemu(vmid)
    config = guest.config.get()
    expect(f"{label}: the clone has a MAC of its own", "BC:24:11:00:90:00" not in config["net0"])
    upid = guest.config.post(
        cores=4, memory=4096, tags="web;nova", description="line one\nline two\n", digest=config["digest"],
        ciuser="debian", ipconfig0="ip=10.20.0.60/24,gw=10.20.0.1",
    )
    expect(f"{label}: the update succeeds", wait(api, upid) == "OK")
    config = guest.config.get()
    expect(f"{label}: memory is read back", str(config["memory"]) == "4096")
    expect(f"{label}: tags are sorted", config["tags"] == "nova;web")
    expect(f"{label}: notes lose their last line end", config["description"] == "line one\nline two")
    expect(
        f"{label}: an old digest is refused",
        refused(lambda: guest.config.put(cores=2, digest="0" * 40), 500, "checksum mismatch"),
    )
    expect(f"{label}: the disk grows", wait(api, guest.resize.put(disk="scsi0", size="12G")) == "OK")
    expect(f"{label}: its size is read back", "size=12G" in guest.config.get()["scsi0"])

    expect(f"{label}: the start succeeds", wait(api, guest.status.start.post()) == "OK")
    expect(f"{label}: the guest runs", guest.status.current.get()["status"] == "running")
    expect(f"{label}: a second start fails in its task", "already running" in wait(api, guest.status.start.post()))
    guest.config.put(cores=2)
    row = next(row for row in guest.pending.get() if row["key"] == "cores")
    expect(f"{label}: cores wait for a restart", str(row["pending"]) == "2" and str(row["value"]) == "4")
    for _ in range(200):
        try:
            found = guest.agent("network-get-interfaces").get()["result"]
            break
        except ResourceException:
            time.sleep(0.05)
    addresses = [entry["ip-address"] for nic in found for entry in nic.get("ip-addresses", [])]
    expect(f"{label}: the agent tells the seeded address", "10.20.0.60" in addresses)

    expect(f"{label}: a running guest is not deleted", refused(lambda: guest.delete(), 500, "is running"))
    expect(f"{label}: the shutdown succeeds", wait(api, guest.status.shutdown.post(timeout=30)) == "OK")
    expect(f"{label}: the change is applied", str(guest.config.get(current=1)["cores"]) == "2")
    expect(f"{label}: the delete succeeds", wait(api, guest.delete(purge=1)) == "OK")
    expect(f"{label}: the guest is gone", refused(lambda: guest.config.get(), 500, "does not exist"))
    expect(
        f"{label}: a bad option is named",
        refused(lambda: source.config.put(ostype="linux"), 400, "does not have a value in the enumeration"),
    )


def main():
    endpoint, authority = sys.argv[1:3]
    host = urlsplit(endpoint)
    common = {"port": host.port, "verify_ssl": authority, "timeout": 30}
    walk(ProxmoxAPI(host.hostname, user=USER, token_name=TOKEN, token_value=SECRET, **common), "token")
    walk(ProxmoxAPI(host.hostname, user=USER, password=PASSWORD, **common), "password")


if __name__ == "__main__":
    main()
