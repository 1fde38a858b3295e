"""What may be called: nothing inside, under no spelling, at no time, unless the operator has named it."""

import asyncio
import socket
from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.outbound.receivers import leading_to

from headway.config import from_environment
from headway.errors import TargetRefused
from headway.networks import is_public
from headway.outbound.egress import AddressRefused, EgressPolicy

INSIDE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "100.127.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.7",
    "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1",
    "100::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001::1", "2001:0:7f00:1::1", "2001:db8::1", "2002:7f00:1::",
    "2002:808:808::1", "3fff::1", "5f00::1", "2a00:1450::5efe:a00:1", "2a00:1450::200:5efe:7f00:1",
]  # fmt: skip
OUTSIDE = [
    "8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "192.0.1.1", "198.17.0.1",
    "223.255.255.255", "168.63.129.17", "2a00:1450:4001:80b::200e", "2606:4700:4700::1111", "2001:4860:4860::8888",
]  # fmt: skip


@pytest.mark.parametrize("text", INSIDE)
def test_an_address_inside_is_not_public(text):
    assert not is_public(ip_address(text))
    host = f"[{text}]" if ":" in text else text
    with pytest.raises(TargetRefused):
        EgressPolicy().url(f"https://{host}/")
    with pytest.raises(AddressRefused):
        EgressPolicy().sockets(trusted=False)((socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 443)))


@pytest.mark.parametrize("text", OUTSIDE)
def test_an_address_outside_is_public(text):
    assert is_public(ip_address(text))
    host = f"[{text}]" if ":" in text else text
    assert EgressPolicy().url(f"https://{host}/").port == 443


@given(st.ip_addresses(v=4))
def test_no_spelling_of_an_ipv4_address_in_ipv6_is_public(address):
    number = int(address)
    for high in (0, 0xFFFF << 32, 0xFFFF << 48, 0x64FF9B << 96, 0x64FF9B0001 << 80):
        assert not is_public(IPv6Address(high + number))
    assert not is_public(IPv6Address((0x2002 << 112) + (number << 80)))


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_never_public(address):
    if not address.is_global:
        assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "//example.com/", "example.com", "",
        "https://", "https:///x", "https://user@example.com/", "https://user:pw@example.com/", "https://example.com/#x", "https://example.com/#",
        "https://example.com:22/", "https://example.com:8443/", "https://example.com:0/", "https://example.com:99999/",
        "https://exam ple.com/", "https://example.com/\r\nX: y", "https://example.com/\t", "https://example.com\\@127.0.0.1/", "https://example.com/\x7f",
        "https://example.com/\u2028", "https://localhost/", "https://LOCALHOST./", "https://a.localhost/", "https://db/", "https://printer.local/",
        "https://metadata.google.internal/", "https://router.home.arpa/", "https://x.lan/", "https://127.1/", "https://0x7f.1/", "https://0177.0.0.1/",
        "https://2130706433/", "https://0x7f000001/", "https://127.0.0.1./", "https://\uff11\uff12\uff17.0.0.1/", "https://[::1]/", "https://[::ffff:7f00:1]/",
        "https://-a.example.com/", "https://a..example.com/", "https://" + "a" * 64 + ".com/", "https://" + "a." * 127 + "com/", "https://a.com/" + "x" * 2048,
        "https://[v1.x]/", "https://[127.0.0.1]/", "https://[8.8.8.8]/",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_called_is_refused_when_it_is_named(url):
    with pytest.raises(TargetRefused) as refused:
        EgressPolicy().url(url)
    assert refused.value.status == 422
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize(
    "url",
    ["https://example.com", "https://Example.COM:443/a?b=c", "https://münchen.example/x", "https://a_b.example.com./"],
)
def test_a_public_url_is_taken(url):
    assert not EgressPolicy().url(url).trusted


def test_http_and_other_ports_are_the_operators_to_allow():
    policy = EgressPolicy(ports=(443, 8443), plain=True)
    assert policy.url("http://example.com/").port == 80
    assert policy.url("https://example.com:8443/").port == 8443
    with pytest.raises(TargetRefused, match="port 8080 is not allowed"):
        policy.url("http://example.com:8080/")


def test_a_host_that_is_allowed_may_be_called_as_it_is_and_no_other():
    policy = EgressPolicy(["erp.intern:8080", "hooks", "10.1.2.3", "[::1]:25"])
    for url in (
        "http://erp.intern:8080/",
        "http://ERP.intern.:8080/",
        "http://hooks:99/",
        "https://hooks/",
        "http://10.1.2.3:5/",
        "http://[::1]:25/",
    ):
        assert policy.url(url).trusted
    for url in (
        "http://erp.intern/",
        "http://erp.intern:8081/",
        "http://10.1.2.4/",
        "http://[::1]/",
        "http://xhooks/",
        "https://a.hooks.lan/",
    ):
        with pytest.raises(TargetRefused):
            policy.url(url)


def test_a_network_that_is_allowed_counts_as_public():
    policy = EgressPolicy(["10.0.0.0/8"])
    assert not policy.url("https://10.9.9.9/").trusted
    with pytest.raises(TargetRefused, match="https"):
        policy.url("http://10.9.9.9/")
    with pytest.raises(TargetRefused):
        policy.url("https://11.0.0.1:22/")


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "a b", "host:0", "host:99999", "host:x", ":80", "", "x/y"])
def test_a_setting_that_cannot_be_read_is_refused_in_words(entry):
    with pytest.raises(ValueError, match=r"is not a network such as|is not a host, such as"):
        EgressPolicy([entry])


def test_the_settings_make_the_guard():
    policy = EgressPolicy.of(from_environment({
        "HEADWAY_OUTBOUND_ALLOW": "hooks:80,10.0.0.0/8", "HEADWAY_OUTBOUND_REFUSE": "10.6.0.0/16", "HEADWAY_OUTBOUND_PORTS": "443,444",
    }))  # fmt: skip
    assert policy.url("http://hooks/").trusted
    assert policy.url("https://10.5.0.1:444/")
    with pytest.raises(TargetRefused):
        policy.url("https://10.6.0.1/")


async def test_a_name_that_leads_inside_is_refused_when_it_is_named():
    for leads in ("127.0.0.1", "8.8.8.8 10.0.0.1", "fd00::1"):
        policy = EgressPolicy(resolve=leading_to(leads))
        with pytest.raises(TargetRefused, match="resolves to an address that is not public") as refused:
            await policy.look_up(policy.url("https://evil.example/"))
        assert "10.0" not in refused.value.detail  # what our names lead to is nobody's business


async def test_a_name_that_leads_nowhere_yet_is_no_harm():
    async def nothing(host, port):
        raise socket.gaierror(-2, "Name or service not known")

    async def never(host, port):
        await asyncio.get_running_loop().create_future()

    for resolve in (nothing, never):
        policy = EgressPolicy(resolve=resolve)
        await policy.look_up(policy.url("https://new.example/"))


async def test_what_is_refused_outright_is_refused_for_an_allowed_name_too():
    policy = EgressPolicy(["hooks"], ["169.254.0.0/16"], resolve=leading_to("169.254.169.254"))
    target = policy.url("http://hooks/")
    with pytest.raises(TargetRefused):
        await policy.look_up(target)
    with pytest.raises(AddressRefused):
        await policy.dial(target)


async def test_a_dial_goes_on_with_the_next_address():
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    policy = EgressPolicy([f"two.example:{port}"], resolve=leading_to("127.0.0.2 127.0.0.1"))
    connection = await policy.dial(policy.mail_server("two.example", port))
    assert connection.getpeername() == ("127.0.0.1", port)
    connection.close()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        await policy.dial(policy.mail_server("two.example", port))


@pytest.mark.parametrize(
    "where",
    [
        ("127.0.0.1", 25),
        ("localhost", 587),
        ("smtp", 25),
        ("mail.example", 22),
        ("a\r\nb.example", 25),
        ("10.0.0.1", 465),
    ],
)
def test_a_mail_server_inside_or_on_an_odd_port_is_refused(where):
    with pytest.raises(TargetRefused):
        EgressPolicy().mail_server(*where)
    assert EgressPolicy().mail_server("mail.example.com", 587).port == 587
