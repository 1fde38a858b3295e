"""Where a request comes from: the peer, or what a proxy that is trusted says."""

import pytest

from headway.web.addresses import Addresses

SAID = b"x-forwarded-for"


@pytest.mark.parametrize(("peer", "said", "found"), [
    ("203.0.113.9", b"198.51.100.1", "203.0.113.9"),  # whoever is not trusted says nothing of others
    ("10.0.0.1", b"198.51.100.1", "198.51.100.1"),
    ("10.0.0.1", b"192.0.2.66, 198.51.100.1", "198.51.100.1"),  # only what the proxy added is its word
    ("10.0.0.1", b"198.51.100.1, 10.0.0.7", "198.51.100.1"),
    ("10.0.0.1", b"10.0.0.7", "10.0.0.1"),
    ("10.0.0.1", b"nonsense", "10.0.0.1"),
    ("10.0.0.1", b"198.51.100.1, nonsense", "10.0.0.1"),
    ("10.0.0.1", b"", "10.0.0.1"),
    ("::ffff:10.0.0.1", b"198.51.100.1", "198.51.100.1"),
    ("2001:db8::1", b"2001:db9::2", "2001:db9::2"),
    ("", b"198.51.100.1", ""),
])  # fmt: skip
def test_only_a_trusted_proxy_is_believed(peer, said, found):
    assert Addresses(["10.0.0.0/8", "2001:db8::/32"]).of(peer, {SAID: said}) == found
    assert Addresses().of(peer, {SAID: said}) == peer


def test_what_is_counted_is_an_address_or_the_network_of_a_customer():
    addresses = Addresses()
    assert addresses.place("198.51.100.1", {}) == "198.51.100.1"
    assert addresses.place("2001:db8:1:2:3::4", {}) == addresses.place("2001:db8:1:2:ffff::1", {})
    assert addresses.place("2001:db8:1:2::4", {}) != addresses.place("2001:db8:1:3::4", {})


def test_what_is_no_network_is_refused():
    with pytest.raises(ValueError, match="nonsense"):
        Addresses(["nonsense"])
