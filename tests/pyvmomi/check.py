"""pyvmomi against the simulated vCenter: each claim prints a line, the first that fails ends it.

usage: check.py HOST PORT CA_FILE [flipped]

It reads every property of every object with types of its own, and sends devices back as it read
them: what the simulator's table of types has wrong, this client notices.
"""

import ssl
import sys
import time

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

PASSWORD = "sandbox-password"
# Newer than the release that is played.
TOO_NEW = (vmodl.fault.MethodNotFound, vmodl.query.InvalidProperty)


def claim(text, holds):
    if not holds:
        sys.exit(f"not so: {text}")
    print(f"ok {text}")


def end(task):
    for _ in range(2000):
        info = task.info
        if info.state == "error":
            raise info.error
        if info.state == "success":
            return info.result
        time.sleep(0.01)
    sys.exit(f"{task} does not end")


def refused(kind, act):
    try:
        act()
    except kind:
        return True
    return False


def named(content, kind, name):
    view = content.viewManager.CreateContainerView(content.rootFolder, [kind], True)
    found = [one for one in view.view if one.name == name]
    view.Destroy()
    return found[0]


def read_everything(content):
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.ManagedEntity], True)
    count = 0
    for one in view.view:
        for prop in one._GetPropertyList():
            try:
                getattr(one, prop.name)
                count += 1
            except TOO_NEW:
                continue
    claim(f"{count} properties of {len(view.view)} objects can be read", count > 500)


def clone(content):
    spec = vim.vm.CloneSpec(
        location=vim.vm.RelocateSpec(pool=named(content, vim.ResourcePool, "Resources")),
        config=vim.vm.ConfigSpec(extraConfig=[vim.option.OptionValue(key="a.b", value="c")]),
        powerOn=False, template=False)
    template = named(content, vim.VirtualMachine, "tpl-debian-13")
    folder = named(content, vim.Folder, "novahost")
    machine = end(template.CloneVM_Task(folder=folder, name="by-pyvmomi", spec=spec))
    values = {one.key: one.value for one in machine.config.extraConfig}
    claim("a clone has its free keys", values["a.b"] == "c")
    again = lambda: end(template.CloneVM_Task(folder=folder, name="BY-pyvmomi", spec=spec))
    return machine, again


def reconfigure(machine):
    old = machine.config.changeVersion
    for device in machine.config.hardware.device:
        change = vim.vm.device.VirtualDeviceSpec(operation="edit", device=device)
        end(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))
    claim("every device can be sent back as it was read", True)
    disk = next(one for one in machine.config.hardware.device if isinstance(one, vim.vm.device.VirtualDisk))
    disk.capacityInKB *= 2
    disk.capacityInBytes *= 2
    change = vim.vm.device.VirtualDeviceSpec(operation="edit", device=disk)
    fresh = machine.config.changeVersion
    end(machine.ReconfigVM_Task(vim.vm.ConfigSpec(changeVersion=fresh, numCPUs=4, deviceChange=[change])))
    claim("processors and disk have grown", machine.config.hardware.numCPU == 4)
    stale = lambda: end(machine.ReconfigVM_Task(vim.vm.ConfigSpec(changeVersion=old, numCPUs=2)))
    claim("an old reading is refused", refused(vim.fault.ConcurrentAccess, stale))


def main():
    host, port, ca = sys.argv[1:4]
    trust = ssl.create_default_context(cafile=ca)
    instance = SmartConnect(
        host=host, port=int(port), user="novahost@vsphere.local", pwd=PASSWORD, sslContext=trust)
    content = instance.content
    claim("it is a vCenter", content.about.apiType == "VirtualCenter")
    claim("it says that it is a mock", "novahost mock" in content.about.fullName)
    read_everything(content)
    machine, again = clone(content)
    if "flipped" not in sys.argv:
        claim("a name is taken in any case", refused(vim.fault.DuplicateName, again))
    reconfigure(machine)
    end(machine.PowerOn())
    claim("it runs", machine.runtime.powerState == "poweredOn")
    on_again = lambda: end(machine.PowerOn())
    claim("it cannot be started twice", refused(vim.fault.InvalidPowerState, on_again))
    gone = lambda: end(machine.Destroy_Task())
    claim("what runs is not destroyed", refused(vim.fault.InvalidPowerState, gone))
    end(machine.PowerOff())
    end(machine.CreateSnapshot_Task(name="s", memory=False, quiesce=False))
    claim("it has a snapshot", machine.snapshot.rootSnapshotList[0].name == "s")
    by_entity = vim.event.EventFilterSpec.ByEntity(entity=machine, recursion="self")
    events = content.eventManager.QueryEvents(vim.event.EventFilterSpec(entity=by_entity))
    claim("its events name who did it", all(one.userName == "VSPHERE.LOCAL\\novahost" for one in events))
    manager = content.authorizationManager
    role = manager.AddAuthorizationRole("by-pyvmomi", ["VirtualMachine.Interact.PowerOn"])
    claim("a role is there", any(one.roleId == role for one in manager.roleList))
    grant = vim.AuthorizationManager.Permission(
        principal="VSPHERE.LOCAL\\ops", group=False, roleId=role, propagate=True)
    manager.SetEntityPermissions(machine, [grant])
    here = manager.RetrieveEntityPermissions(machine, False)
    claim("a permission is there", [one.principal for one in here] == ["VSPHERE.LOCAL\\ops"])
    end(machine.Destroy_Task())
    name = lambda: machine.name
    claim("what is destroyed is gone", refused(vmodl.fault.ManagedObjectNotFound, name))
    Disconnect(instance)


main()
