"""The site connects, on a provider's word, to the open internet alone, and to what its operator names."""

import ipaddress

import pytest

from portal.kit import outbound
from portal.kit.environment import WrongSetting

PRIVATE = (
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::1", "2001::1", "2001:db8::1",
)  # fmt: skip
PUBLIC = ("8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001::200e")


@pytest.mark.parametrize("address", PRIVATE)
def test_what_leads_into_a_private_network_is_refused(address: str) -> None:
    assert not outbound.is_public(ipaddress.ip_address(address))
    assert not outbound.read({}).allows(address, host="models.example.com", port=443)


@pytest.mark.parametrize("address", PUBLIC)
def test_the_open_internet_is_reached_on_the_usual_ports_alone(address: str) -> None:
    rules = outbound.read({})
    assert rules.allows(address, host="models.example.com", port=443)
    assert not rules.allows(address, host="models.example.com", port=22)
    assert outbound.read({"REMOTE_PORTS": "8443"}).allows(address, host="models.example.com", port=8443)


def test_the_operator_may_allow_hosts_addresses_and_networks() -> None:
    rules = outbound.read({"REMOTE_ALLOW": "GPU.internal., 10.1.0.0/16,[::1]"})
    assert rules.allows("192.168.0.7", host="gpu.internal", port=8000)
    assert rules.allows("10.1.2.3", host="anything", port=8000)
    assert rules.allows("::1", host="anything", port=8000)
    assert not rules.allows("10.2.0.1", host="anything", port=443)
    assert rules.names("gpu.internal")
    assert rules.names("10.1.9.9")
    assert not rules.names("other.internal")


@pytest.mark.parametrize(
    "environment",
    [{"REMOTE_ALLOW": "a b"}, {"REMOTE_ALLOW": "10.0.0.0/99"}, {"REMOTE_ALLOW": "http://gpu"},
     {"REMOTE_ALLOW": "10.0.0"}, {"REMOTE_PORTS": "0"}, {"REMOTE_PORTS": "https"}, {"REMOTE_PORTS": ","}],
)  # fmt: skip
def test_a_malformed_rule_ends_the_start_with_a_sentence(environment: dict[str, str]) -> None:
    with pytest.raises(WrongSetting, match=r"^REMOTE_\w+ must be .*\.$"):
        outbound.read(environment)
