"""What pyvmomi sees of a project's machines: single properties, each asked for by its path.

usage: look.py HOST PORT USER PASSWORD PROJECT

Whole objects are not read: what this client expects of some of them, the simulator does not have.
"""

import ssl
import sys

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

PATHS = [
    "name",
    "config.instanceUuid",
    "config.template",
    "config.hardware.memoryMB",
    "config.extraConfig",
    "runtime.powerState",
    "snapshot",
]


def claim(text, holds):
    if not holds:
        sys.exit(f"not so: {text}")


def machines(content):
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    over = vmodl.query.PropertyCollector.TraversalSpec(
        name="v", type=vim.view.ContainerView, path="view", skip=False
    )
    spec = vmodl.query.PropertyCollector.FilterSpec(
        propSet=[
            vmodl.query.PropertyCollector.PropertySpec(type=vim.VirtualMachine, all=False, pathSet=PATHS)
        ],
        objectSet=[
            vmodl.query.PropertyCollector.ObjectSpec(obj=view, skip=True, selectSet=[over])
        ],
    )
    options = vmodl.query.PropertyCollector.RetrieveOptions()
    found = content.propertyCollector.RetrievePropertiesEx([spec], options)
    for one in found.objects:
        yield one.obj._moId, {prop.name: prop.val for prop in one.propSet}
    view.Destroy()


def snapshots(trees):
    for tree in trees:
        yield tree
        yield from snapshots(tree.childSnapshotList or [])


def main():
    host, port, user, password, project = sys.argv[1:6]
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    service = SmartConnect(host=host, port=int(port), user=user, pwd=password, sslContext=context)
    count = 0
    for moid, seen in machines(service.RetrieveContent()):
        extra = {option.key: option.value for option in seen["config.extraConfig"]}
        marker = extra.get("novahost.id")
        if not marker:
            continue
        words = dict(word.split("=", 1) for word in marker.split()[1:])
        name = seen["name"]
        claim(f"{name} is of the project", words["project"] == project)
        claim(f"{name} is bound by its uuid", words["uuid"] == seen["config.instanceUuid"])
        claim(f"{name} is bound by its id", words["id"] == moid)
        claim(f"{name} is complete", words["stage"] == "ready")
        claim(f"{name} has a map", extra["novahost.map"].startswith("novahost-map/1 disk.boot="))
        claim(f"{name} is no template", not seen["config.template"])
        for tree in snapshots(seen["snapshot"].rootSnapshotList if "snapshot" in seen else []):
            print(f"snapshot {tree.name} of {name}: {tree.state}: {tree.description}")
        count += 1
    Disconnect(service)
    print(f"{count} machines")


main()
